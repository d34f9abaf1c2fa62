"""The decoder with every gene at its ratio, differentiable in the ratios alone.

The weights are W + sum_g r_g D_g, D_g being what gene g adds per unit of its ratio. Nothing is written into the model.
Where memory is short each layer's weights are made when the layer runs, and again in the backward pass (activation
checkpointing, arXiv 1604.06174): one layer's weights, gradients and activations are alive at a time. An embedding is
blended in the rows that the text reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from darwin_mri.checkpoints import stored_tensors
from darwin_mri.checkpoints.anatomy import decoder_of

BLOCK = 2**24  # values in fp32 at once


class Direction(Protocol):
    """What a gene adds to a tensor per unit of its ratio."""

    def whole(self) -> torch.Tensor:
        """All of it, in the parameter's shape, on its device."""
        ...

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of it."""
        ...


class Resident:
    """A direction that is in memory; what is asked of it is the tensor itself."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def whole(self) -> torch.Tensor:
        """The tensor."""
        return self.tensor

    def rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Some of its rows."""
        return self.tensor[rows]


class _Rows:
    """Some rows of a direction, as a direction."""

    def __init__(self, direction: Direction, rows: torch.Tensor) -> None:
        self._direction, self._rows = direction, rows

    def whole(self) -> torch.Tensor:
        return self._direction.rows(self._rows)


Moves = Mapping[str, Sequence[tuple[int, Direction]]]
"""Parameter -> (number of the gene, its direction) of every gene that moves it."""


class BlendedDecoder:
    """A model's decoder with every gene at its ratio.

    Args:
        model: transformers' model, the father.
        moves: by parameter name of the whole model. What lies outside the decoder (an untied head) has no part in its
            forward, and so no slope.
        layers: the decoder layers, to make the weights of one at a time; None makes all at once.
        keep: keep the child's weights until the ratios change, which takes as much memory as all at once.
    """

    def __init__(
        self, model: nn.Module, moves: Moves, layers: Sequence[nn.Module] | None = None, *, keep: bool = False
    ) -> None:
        self._decoder = decoder_of(model)
        self._parameters = stored_tensors(model)
        names = {id(module): name for name, module in model.named_modules()}
        prefix = f"{names[id(self._decoder)]}."
        self._rest = {name.removeprefix(prefix): name for name in moves if name.startswith(prefix)}
        self._moves = moves
        self._values: tuple[float, ...] = ()
        self._keep, self._kept = keep or layers is None, dict[str, torch.Tensor]()  # the child's, at these values
        inside = [(module, names[id(module)]) for module in self._decoder.modules() if isinstance(module, nn.Embedding)]
        self._embeddings = [(module, self._take(f"{name}.weight")) for module, name in inside]
        self._layers = [(layer, self._take_all(f"{names[id(layer)]}.")) for layer in layers or ()]

    def _take(self, name: str) -> str | None:
        """A parameter that something else than the decoder's own call blends, or None where no gene moves it."""
        own = next((inner for inner, whole in self._rest.items() if whole == name), None)
        return None if own is None else self._rest.pop(own)

    def _take_all(self, prefix: str) -> dict[str, str]:
        """Name inside a module -> parameter, of those that begin so."""
        own = [name for name in self._rest.values() if name.startswith(prefix)]
        return {name.removeprefix(prefix): str(self._take(name)) for name in own}

    @classmethod
    def along(
        cls,
        model: nn.Module,
        directions: Mapping[str, Mapping[str, torch.Tensor | Direction]],
        layers: Sequence[nn.Module] | None = None,
        *,
        keep: bool = False,
    ) -> BlendedDecoder:
        """The decoder with one gene for each set of directions.

        Args:
            model: transformers' model, the father.
            directions: gene -> {parameter name of the whole model: direction of the parameter's shape}.
            layers: as in the class, as the next.
            keep: the child's weights.

        Returns:
            The decoder; its genes are numbered in the order of ``directions``.
        """
        moves: dict[str, list[tuple[int, Direction]]] = {}
        for number, own in enumerate(directions.values()):
            for name, one in own.items():
                moves.setdefault(name, []).append((number, Resident(one) if isinstance(one, torch.Tensor) else one))
        return cls(model, moves, layers, keep=keep)

    @contextmanager
    def at(self, ratios: torch.Tensor) -> Iterator[Callable[..., Any]]:
        """While open, yields a forward that replaces the decoder's, same arguments.

        Args:
            ratios: (genes,) fp32.

        Yields:
            The forward; gradients of what it returns flow into ``ratios``.
        """
        if self._values != (values := tuple(ratios.tolist())):
            self._values = values
            self._kept.clear()
        with ExitStack() as stack:
            for module, name in self._embeddings:
                if name is not None:
                    stack.enter_context(_replaced(module, self._embed(module, name, ratios)))
            for layer, names in self._layers:
                if names:
                    stack.enter_context(_replaced(layer, self._run_again(layer, names, ratios)))
            yield lambda **inputs: functional_call(self._decoder, self._blend(self._rest, ratios), kwargs=inputs)

    def _blend(self, names: Mapping[str, str], ratios: torch.Tensor) -> dict[str, torch.Tensor]:
        """Name inside a module -> the child's tensor."""
        children = {}
        for inner, name in names.items():
            kept = self._kept.get(name)
            children[inner] = child = self._child(self._parameters[name], self._moves[name], ratios, kept)
            if self._keep:
                self._kept[name] = child.detach()
        return children

    def _child(
        self,
        weight: torch.Tensor,
        moves: Sequence[tuple[int, Any]],
        ratios: torch.Tensor,
        kept: torch.Tensor | None = None,
    ) -> torch.Tensor:
        positions, along = zip(*moves, strict=True)
        values = tuple(self._values[position] for position in positions)
        return _Blend.apply(ratios, weight.detach(), positions, along, values, kept)  # type: ignore[no-any-return]

    def _embed(self, module: nn.Embedding, name: str, ratios: torch.Tensor) -> Callable[..., Any]:
        """The embedding's forward over a table of the rows that are read."""
        forward, holder = module.forward, _Holder(module)

        def read(ids: torch.Tensor) -> torch.Tensor:
            rows, places = ids.unique(return_inverse=True)
            moves = [(position, _Rows(direction, rows)) for position, direction in self._moves[name]]
            table = {"module.weight": self._child(self._parameters[name][rows], moves, ratios)}
            padding, module.padding_idx = module.padding_idx, None  # a number of the whole table
            try:
                holder.call = forward
                return functional_call(holder, table, (places,))
            finally:
                module.padding_idx = padding

        return read

    def _run_again(self, layer: nn.Module, names: Mapping[str, str], ratios: torch.Tensor) -> Callable[..., Any]:
        """The layer's forward, which makes its weights and runs, and does both again in the backward pass."""
        holder = _Holder(layer)
        holder.call = layer.forward
        inner = {f"module.{name}": whole for name, whole in names.items()}

        def run(*args: Any, **kwargs: Any) -> Any:
            return functional_call(holder, self._blend(inner, ratios), args, kwargs)

        return lambda *args, **kwargs: checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)


class _Holder(nn.Module):
    """A module whose forward is called under another name, as the module's own is replaced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.call: Callable[..., Any] = module.forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """While open, a module's instance has another forward."""
    own = module.__dict__.get("forward")  # another library's
    module.forward = forward
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.forward = own


class _Blend(torch.autograd.Function):
    """W + sum_g r_g D_g, added up in fp32 and rounded once, as a child's tensor is.

    By blocks of rows: a large table needs no fp32 copy, and a backward pass keeps no tensor.
    """

    @staticmethod
    def forward(
        ctx: Any,
        ratios: torch.Tensor,
        weight: torch.Tensor,
        positions: tuple[int, ...],
        directions: tuple[Direction, ...],
        values: tuple[float, ...],
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        """Blend one tensor.

        Args:
            ctx: what the backward pass needs.
            ratios: (genes,) of all genes.
            weight: the father's tensor.
            positions: which genes move this tensor.
            directions: one per such gene, of the tensor's shape.
            values: the ratio of each such gene, on the host; a direction at 0 is not asked for.
            kept: the child's tensor where it was made before.

        Returns:
            The child's tensor, in the father's dtype.
        """
        ctx.positions, ctx.directions, ctx.count = positions, directions, len(ratios)
        if kept is not None:
            return kept.detach()
        out = torch.empty_like(weight)
        moving = [(v, _row_blocks(d.whole())) for v, d in zip(values, directions, strict=True) if v]
        for number, (target, rows) in enumerate(zip(_row_blocks(out), _row_blocks(weight), strict=True)):
            value = rows.float()
            for ratio, blocks in moving:
                value = value + ratio * blocks[number].float()
            target.copy_(value)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The slopes d loss / d r_g = sum of gradient * D_g, (genes,); nothing for the tensors."""
        (gradient,) = gradients
        out = torch.zeros(ctx.count, device=gradient.device)
        for position, direction in zip(ctx.positions, ctx.directions, strict=True):
            for g, d in zip(_row_blocks(gradient), _row_blocks(direction.whole()), strict=True):
                out[position] += (g.float() * d.float()).sum()
        return out, None, None, None, None, None


def _row_blocks(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tensor.split(max(1, BLOCK // max(1, tensor.shape[1:].numel()))) if tensor.dim() else (tensor,)
