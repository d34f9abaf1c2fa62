"""How a tensor of a child is computed from whole tensors block by block: what every kind of blend has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging.blocks import by_blocks
from darwin_mri.quantities import quantity_fault

BlockOf = Callable[[Tensor], Tensor]
"""Whole tensor -> its current flat fp32 block."""
Ratios = tuple[float, ...]
"""How much of each other parent a child takes, in their order."""
Ratio = float | Ratios
"""One number stands for the only other parent's."""


@dataclass(frozen=True, eq=False)
class Contribution:
    """What one parent brings to a child: its task vector, trimmed, masked and multiplied; or a tensor as it is.

    Attributes:
        tensor: the parent's tensor, any floating dtype; where there is no base, the contribution itself.
        base: what the task vector ``tensor - base`` is measured from, of the same shape; None takes ``tensor`` as is.
        level: magnitudes up to it are trimmed away; None trims nothing.
        mask: which elements are kept (booleans), or weights of all of them, in the same shape; None keeps all.
        factor: what the rest is multiplied with.
    """

    tensor: Tensor
    base: Tensor | None = None
    level: float | None = None
    mask: Tensor | None = None
    factor: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Everything it is computed from."""
        return tuple(tensor for tensor in (self.tensor, self.base, self.mask) if tensor is not None)

    def block(self, at: BlockOf) -> Tensor:
        """The contribution's fp32 block, not to be written to: it may be the parent's own."""
        if self.base is None:
            return at(self.tensor)
        vector = at(self.tensor) - at(self.base)
        if self.level is not None:
            vector = torch.hardshrink(vector, self.level)
        if self.mask is not None:
            vector.mul_(at(self.mask))
        if self.factor != 1.0:
            vector.mul_(self.factor)
        return vector

    def computed(self) -> Contribution:
        """The same as one new fp32 tensor."""
        return Contribution(streamed(self.block, self.tensors))

    def moved(self, move: Callable[[Tensor], Tensor]) -> Contribution:
        """The same with every tensor moved."""
        base, mask = (None if tensor is None else move(tensor) for tensor in (self.base, self.mask))
        return replace(self, tensor=move(self.tensor), base=base, mask=mask)


@dataclass(frozen=True, eq=False)
class StreamedBlend(ABC):
    """A blend that is computed element by element, in fp32, without a whole tensor in between.

    Attributes:
        origin: what the contributions are added to; the child has its shape.
        contributions: of the parents, the father's first where it is not the origin.
        known: children that need no arithmetic, by ratios.
    """

    origin: Tensor
    contributions: tuple[Contribution, ...]
    known: Mapping[Ratios, Tensor] = field(default_factory=dict, kw_only=True)

    @abstractmethod
    def _join(self, ratios: Ratios, origin: Tensor, *contributions: Tensor) -> Tensor:
        """One fp32 block of the child, from blocks that must not be written to."""

    def _write_with_kernel(self, target: Tensor, ratios: Ratios, dtype: torch.dtype) -> bool:
        """Let a CUDA kernel write the child; False where none can."""
        return False

    def _holds_inputs(self, device: torch.device) -> bool:
        """Whether ``kept`` holds the parents' tensors there, in place of the contributions made from them."""
        return device.type != "cpu" and self._input_bytes() <= self._contribution_bytes()

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``.

        Raises:
            ConfigError: a ratio is no finite number.
        """
        ratios = as_ratios(ratio)
        if ratios in self.known:
            return self.known[ratios].detach().to(dtype, copy=True)
        out = torch.empty(self.origin.shape, dtype=dtype, device=self.origin.device)
        self.write(out, ratios, dtype)
        return out

    def write(self, target: Tensor, ratio: Ratio, dtype: torch.dtype) -> None:
        """Write the child at these ratios into a tensor.

        Args:
            target: of the origin's shape, contiguous; its dtype may be wider than ``dtype``.
            ratio: how much of each other parent the child takes.
            dtype: what the child is rounded to, once.
        """
        ratios = as_ratios(ratio)
        if self._write_with_kernel(target, ratios, dtype):
            return
        narrow = target.dtype != dtype

        def block(at: BlockOf) -> Tensor:
            child = self._join(ratios, at(self.origin), *(part.block(at) for part in self.contributions))
            return child.to(dtype) if narrow else child

        streamed(block, self._tensors(), out=target)

    def kept(self, device: torch.device) -> Self:
        """The same function, held on a device: fast at every ratio.

        A CPU holds the contributions, computed once. An accelerator has arithmetic to spare and no memory: it holds the
        parents' tensors where they are the smaller. ``known`` is empty there: ask the original for those children.
        """
        contributions = self.contributions
        if not self._holds_inputs(device):
            contributions = tuple(part.computed() for part in contributions)
        return self._moved(_Mover(lambda tensor: tensor.to(device)), contributions)

    def waiting(self, device: torch.device) -> Self:
        """The same function held in host memory, from where an accelerator reads it fastest; masks are kept drawn."""
        move = _Mover(torch.Tensor.pin_memory if device.type == "cuda" else lambda tensor: tensor)
        return self._moved(move, self.contributions)

    def waiting_bytes(self) -> int:
        """What ``waiting`` takes."""
        return self._input_bytes()

    def _moved(self, move: _Mover, contributions: tuple[Contribution, ...]) -> Self:
        moved = tuple(part.moved(move) for part in contributions)
        return replace(self, origin=move(self.origin), contributions=moved, known={})

    def rows(self, rows: Tensor) -> Self:
        """The same function of some rows of the tensor alone, which are copied."""
        contributions = tuple(part.moved(lambda tensor: tensor[rows]) for part in self.contributions)
        known = {ratios: child[rows] for ratios, child in self.known.items()}
        return replace(self, origin=self.origin[rows], contributions=contributions, known=known)

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return self._input_bytes() if self._holds_inputs(device) else self._contribution_bytes()

    def _tensors(self) -> tuple[Tensor, ...]:
        return (self.origin, *(tensor for part in self.contributions for tensor in part.tensors))

    def _input_bytes(self) -> int:
        return sum(map(_held_bytes, _distinct(self._tensors()).values()))

    def _contribution_bytes(self) -> int:
        return _held_bytes(self.origin) + 4 * len(self.contributions) * self.origin.numel()


class WholeBlend(ABC):
    """A blend that is computed from whole tensors at every ratio."""

    @abstractmethod
    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``."""

    def write(self, target: Tensor, ratio: Ratio, dtype: torch.dtype) -> None:
        """Write the child into a tensor.

        Args:
            target: of the father's shape; its dtype may be wider than ``dtype``.
            ratio: of each other parent.
            dtype: the child is rounded to it, once.
        """
        target.copy_(self.child(ratio, dtype))


def streamed(block: Callable[[BlockOf], Tensor], tensors: tuple[Tensor, ...], out: Tensor | None = None) -> Tensor:
    """Compute a tensor block by block from whole tensors of its shape.

    Args:
        block: computes one block, given the blocks of ``tensors``.
        tensors: all that ``block`` asks for; the first settles shape and device of a new tensor.
        out: where the blocks go, in its dtype; a new fp32 tensor when None.

    Returns:
        ``out``, or the new tensor.
    """
    distinct = _distinct(tensors)

    def kernel(*blocks: Tensor) -> Tensor:
        current = dict(zip(distinct, blocks, strict=True))
        return block(lambda tensor: current[id(tensor)])

    return by_blocks(kernel, *distinct.values(), out=out)


def as_ratios(ratio: float | Sequence[float]) -> Ratios:
    """One ratio for each other parent; raises ConfigError unless all are finite numbers."""
    ratios = tuple(ratio) if isinstance(ratio, Sequence) else (ratio,)
    for one in ratios:
        if fault := quantity_fault("ratio", one):
            raise ConfigError(fault)
    return ratios


def is_constant(tensor: Tensor) -> bool:
    """Whether all elements are one element in memory, as in the mask of a density of 1."""
    return tensor.numel() > 1 and not any(tensor.stride())


def _distinct(tensors: tuple[Tensor, ...]) -> dict[int, Tensor]:
    """The tensors by identity, each once: a father that is the base is read and held once."""
    return {id(tensor): tensor for tensor in tensors}


def _held_bytes(tensor: Tensor) -> int:
    return tensor.element_size() if is_constant(tensor) else tensor.nbytes


class _Mover:
    """Moves tensors, the same tensor once and a constant one as one element."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        self._move_one = move
        self._moved: dict[int, tuple[Tensor, Tensor]] = {}  # with the original, which keeps its id taken

    def __call__(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._moved:
            self._moved[id(tensor)] = tensor, self._move(tensor)
        return self._moved[id(tensor)][1]

    def _move(self, tensor: Tensor) -> Tensor:
        if is_constant(tensor):
            return self._move_one(tensor.flatten()[:1]).expand(tensor.numel()).view(tensor.shape)
        return self._move_one(tensor)
