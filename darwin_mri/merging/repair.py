"""``repair``: the linear maps of a child solved again, layer by layer, toward what its parents put out.

For each document one parent is the teacher t. With x the inputs that a map of the child is given, by layers that are
repaired already, and x_t those of the same map of the teacher, on the same tokens:

    W = (sum_t C_ts W_t + lambda W_merged) (sum_t C_ss + lambda I)^-1,   lambda = strength * mean(diag sum_t C_ss)

with C_ts = sum x_t x^T and C_ss = sum x x^T over the teacher's documents: the exact minimum of
sum |W_t x_t - W x|^2 + lambda |W - W_merged|^2 (FeatCal, arXiv 2605.13030, with whole teachers in place of blends).
The teacher's outputs W_t x_t are gathered with its bias, less the child's own bias, which stays as it is. No label, no
gradient. Within a layer maps are solved in the order of the forward, those that read the same input together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.moments import Moment, explained, layer_groups, ridge
from darwin_mri.merging.repair_maps import MapGroup, RepairMaps, hooked, module_of
from darwin_mri.probes import Batch, PrefixCache, final_states
from darwin_mri.records import RepairedMap

Outputs = dict[str, list[Tensor]]
"""Weight of a map -> what the teachers' maps of that name put out, (tokens, outputs) for each batch, on the host."""


class _Stop(Exception):
    """Ends a forward as soon as it has come far enough."""


class Models(Protocol):
    """The child and its teachers, of which not all need to be on the device at once."""

    def on_device(self, role: str) -> AbstractContextManager[LoadedModel]:
        """While open, a parent, or the ``child``, is where it computes."""
        ...


class Kept(Protocol):
    """Where the maps of repaired layers are kept."""

    def load(self, layer: int) -> tuple[dict[str, Tensor], tuple[RepairedMap, ...]] | None:
        """A layer's maps and their figures; None where it was not repaired yet."""
        ...

    def save(self, layer: int, tensors: Mapping[str, Tensor], figures: Sequence[RepairedMap]) -> None:
        """Keep a layer.

        Args:
            layer: its number.
            tensors: its maps by parameter.
            figures: of its maps.
        """
        ...


@dataclass
class Repair:
    """What the repairs of one child share, whatever their strength.

    Attributes:
        models: the child and its teachers; the child's maps are overwritten.
        lessons: role of a teacher -> the text that it teaches, in batches that all models read alike.
        maps: of the child, and by name of every teacher.
        dtype: weight -> dtype that it is rounded to, as it has in the child on disk.
        budget: bytes of the teachers' outputs that are held at once on the host.
        on_layer: called after each layer.
    """

    models: Models
    lessons: Mapping[str, Sequence[Batch]]
    maps: RepairMaps
    dtype: Callable[[str], torch.dtype]
    budget: int
    on_layer: Callable[[], None] = lambda: None
    _prefixes: dict[str, PrefixCache] = field(default_factory=dict)

    @torch.inference_mode()
    def run(self, strength: float, kept: Kept) -> tuple[RepairedMap, ...]:
        """Repair the child in memory, from the first layer to the last.

        Args:
            strength: of the merged weights, as a share of the mean second moment of the inputs.
            kept: layers that are there are taken over, the others are put there.

        Returns:
            Figures of every map, in the order of the forward.

        Raises:
            InputError: a stream or an output is not finite.
        """
        figures: list[RepairedMap] = []
        todo = list(self.maps.layers)
        with self.models.on_device("child") as child:
            while todo and (known := kept.load(todo[0])) is not None:
                write_maps(child, known[0])
                figures += known[1]
                todo.pop(0)
                self.on_layer()
        prefix: PrefixCache | None = None
        for layers in layer_groups(
            todo, max((self._output_bytes(child, layer) for layer in todo), default=0), self.budget
        ):
            outputs = self._teach(layers)
            with self.models.on_device("child") as child:
                prefix = prefix or PrefixCache(child, self._batches)
                for layer in layers:
                    made = [self._solve(child, prefix, group, outputs, strength) for group in self.maps.layers[layer]]
                    own = tuple(one for part in made for one in part)
                    weights = {name: module_of(child, name).weight for name in self.maps.tensors(layer)}
                    kept.save(layer, {name: w.to(self.dtype(name)) for name, w in weights.items()}, own)
                    figures += own
                    self.on_layer()
        return tuple(figures)

    @property
    def _batches(self) -> list[Batch]:
        """The text of all teachers, one after the other."""
        return [batch for batches in self.lessons.values() for batch in batches]

    def _output_bytes(self, model: LoadedModel, layer: int) -> int:
        """Bytes of the teachers' outputs of one layer."""
        tokens = sum(int(batch.attention.sum()) for batch in self._batches)
        weights = [module_of(model, name).weight for name in self.maps.tensors(layer)]
        return sum(tokens * weight.shape[0] * weight.element_size() for weight in weights)

    def _teach(self, layers: Sequence[int]) -> Outputs:
        """What the maps of these layers put out in the teachers, each on the text that it teaches."""
        outputs: Outputs = {name: [] for layer in layers for name in self.maps.tensors(layer)}
        for role, batches in self.lessons.items():
            with self.models.on_device(role) as teacher:
                if role not in self._prefixes:
                    self._prefixes[role] = PrefixCache(teacher, batches)
                prefix = self._prefixes[role]
                for number, batch in enumerate(batches):
                    seen: dict[str, Tensor] = {}
                    modules = {name: module_of(teacher, name) for name in outputs}
                    with prefix.before(number, layers[0]), _watching(modules, seen), _until(teacher.layers[layers[-1]]):
                        _read(teacher, batch)
                    for name, kept in outputs.items():
                        kept.append(_tokens(seen[name], batch).cpu())
        for name, parts in outputs.items():
            if not all(bool(part.isfinite().all()) for part in parts):
                raise InputError(f"repair: a teacher's output of {name} is not finite: check the parents' weights")
        return outputs

    def _solve(
        self, child: LoadedModel, prefix: PrefixCache, group: MapGroup, outputs: Outputs, strength: float
    ) -> list[RepairedMap]:
        """Solve the maps of one group and write them into the child."""
        modules = {name: module_of(child, name) for name in group.tensors}
        first, device = modules[group.tensors[0]], child.device
        width, heights = first.in_features, [module.out_features for module in modules.values()]
        xx, xy = Moment(width, width, device), Moment(width, sum(heights), device)
        power = torch.zeros(sum(heights), dtype=torch.float64, device=device)
        for number, batch in enumerate(self._batches):
            given: list[Tensor] = []
            with prefix.before(number, group.layer), _input_of(first, given):
                _read(child, batch)
            x = _tokens(given[0], batch).float()  # (tokens, width)
            y = torch.cat([_target(module, outputs[name][number]) for name, module in modules.items()], 1)
            xx.add(x, x)
            xy.add(x, y)
            power += y.double().square().sum(0)
        if not bool(xx.sum.isfinite().all()):
            raise InputError(
                f"repair: the child's input of {group.tensors[0]} is not finite: give a larger repair strength, or"
                " check the child's health"
            )
        merged = torch.cat([module.weight.float() for module in modules.values()])  # (outputs, width)
        solved = ridge(xx.sum, xy.sum, strength, prior=merged)
        figures, start = [], 0
        for name, module, height in zip(modules, modules.values(), heights, strict=True):
            part = slice(start, start + height)
            write_maps(child, {name: solved[part].to(self.dtype(name))})
            before, after, yy = merged[part], module.weight.float(), float(power[part].sum())
            figures.append(
                RepairedMap(
                    tensor=name,
                    layer=group.layer,
                    width=width,
                    change=float((after - before).norm() / before.norm().clamp_min(1e-30)),
                    explained_before=explained(before, xx.sum, xy.sum[:, part], yy),
                    explained_after=explained(after, xx.sum, xy.sum[:, part], yy),
                )
            )
            start += height
        return figures


@torch.no_grad()
def write_maps(child: LoadedModel, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite weights of a model in memory, by the names of parameters."""
    for name, tensor in tensors.items():
        module_of(child, name).weight.copy_(tensor)


def _target(module: nn.Linear, output: Tensor) -> Tensor:
    """What a map's weight is to put out: the teacher's output less the child's bias, (tokens, outputs) fp32."""
    y = output.to(module.weight.device).float()
    return y if module.bias is None else y - module.bias.float()


def _tokens(value: Tensor, batch: Batch) -> Tensor:
    """Values of all that is read, prefix tokens included and padding left out, (tokens, width)."""
    return value.reshape(-1, value.shape[-1])[batch.attention.flatten().bool()]


def _read(model: LoadedModel, batch: Batch) -> None:
    """A forward that ends where a hook stops it."""
    try:
        final_states(model.model, batch)
    except _Stop:
        return


@contextmanager
def _watching(modules: Mapping[str, nn.Linear], seen: dict[str, Tensor]) -> Iterator[None]:
    """While open, a forward leaves the outputs of these maps in ``seen``."""

    def keep(name: str) -> Any:
        return lambda _, args, output: seen.__setitem__(name, output)

    with hooked([module.register_forward_hook(keep(name)) for name, module in modules.items()]):
        yield


@contextmanager
def _input_of(module: nn.Linear, given: list[Tensor]) -> Iterator[None]:
    """While open, a forward leaves the input of this map in ``given`` and ends there."""

    def stop(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        given.append(args[0])
        raise _Stop

    with hooked([module.register_forward_pre_hook(stop)]):
        yield


@contextmanager
def _until(layer: nn.Module) -> Iterator[None]:
    """While open, a forward ends after this layer."""

    def stop(*_: Any) -> None:
        raise _Stop

    with hooked([layer.register_forward_hook(stop)]):
        yield
