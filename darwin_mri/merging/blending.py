"""One tensor of a child as a function of the mother's ratio: what a search keeps resident and what a writer streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from darwin_mri import kernels
from darwin_mri.errors import ConfigError
from darwin_mri.merging.blocks import by_blocks


@dataclass(frozen=True)
class Election:
    """What a kernel must know to do in one go what ``split`` and ``join`` of an elected blend do (``operators.elect``).

    The inputs of such a blend are father and mother, and where there are any the masks or weights of their task vectors.
    """

    weight: float
    divide: str
    scale: float
    levels: tuple[float, float] | None = None
    factors: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Blend:
    """One tensor of the child as a function of the ratio.

    Args:
        origin: what the parents' contributions are added to.
        inputs: tensors of the origin's shape that ``split`` reads.
        split: fp32 blocks of origin and inputs -> fp32 blocks of the contributions. It does not know the ratio.
        join: ratio, then fp32 blocks of origin and contributions -> fp32 block of the child.
        known: children that need no arithmetic, by ratio.
        linear: whether the child is origin + r * contribution.
        election: what ``split`` and ``join`` do, where it is TIES' election.
    """

    origin: Tensor
    inputs: tuple[Tensor, ...]
    split: Callable[..., tuple[Tensor, ...]]
    join: Callable[..., Tensor]
    known: Mapping[float, Tensor] = field(default_factory=dict)
    linear: bool = False
    election: Election | None = None

    def child(self, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at a ratio, a new one, rounded once to ``dtype``.

        Raises:
            ConfigError: the ratio is negative or no number.
        """
        if not 0 <= ratio < math.inf:
            raise ConfigError(f"ratio {ratio} must be a number of at least 0")
        if ratio in self.known:
            return self.known[ratio].detach().to(dtype, copy=True)
        out = torch.empty(self.origin.shape, dtype=dtype, device=self.origin.device)
        self.write(out, ratio, dtype)
        return out

    def kept(self, device: torch.device) -> Blend:
        """The same function, held on a device: fast at every ratio.

        A CPU holds the contributions, computed once. An accelerator has arithmetic to spare and no memory: it holds the inputs
        where they are the smaller.

        It knows no child without arithmetic any more: ask the original for those of ``known``.
        """
        if self._holds_inputs(device):
            there = {id(tensor): _moved(tensor, device) for tensor in (self.origin, *self.inputs)}
            inputs = tuple(there[id(tensor)] for tensor in self.inputs)
            return replace(self, origin=there[id(self.origin)], inputs=inputs, known={})
        vectors = tuple(
            by_blocks(lambda *parts, i=index: self.split(*parts)[i], self.origin, *self.inputs).to(device)
            for index in range(self._contributions())
        )
        return Blend(
            self.origin.to(device), vectors, as_they_are, self.join, linear=self.linear, election=self.election
        )

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return self._input_bytes() if self._holds_inputs(device) else self._contribution_bytes()

    def _holds_inputs(self, device: torch.device) -> bool:
        if device.type == "cpu" or (self.linear and self.split is not toward):  # one vector, which a kernel reads
            return False
        return self._input_bytes() <= self._contribution_bytes()

    def _input_bytes(self) -> int:
        return sum(map(_held_bytes, {id(tensor): tensor for tensor in (self.origin, *self.inputs)}.values()))

    def _contribution_bytes(self) -> int:
        return _held_bytes(self.origin) + 4 * self._contributions() * self.origin.numel()

    def _contributions(self) -> int:
        return len(self.split(*(tensor.flatten()[:1].float() for tensor in (self.origin, *self.inputs))))

    def write(self, target: Tensor, ratio: float, dtype: torch.dtype) -> None:
        """Write the child, rounded once to ``dtype``, into ``target`` (which may be wider) without a whole tensor in between."""
        if self.linear and self.split in (toward, as_they_are) and kernels.fit(self.origin, *self.inputs, target):
            from darwin_mri.kernels.blend import blend

            blend(self.origin, self.inputs[0], ratio, target, dtype, toward=self.split is toward)
            return
        if self.election and self._elect(self.election, target, ratio, dtype):
            return
        narrow = target.dtype != dtype

        def kernel(o: Tensor, *rest: Tensor) -> Tensor:
            made = self.join(ratio, o, *self.split(o, *rest))
            return made.to(dtype) if narrow else made

        by_blocks(kernel, self.origin, *self.inputs, out=target)

    def _elect(self, election: Election, target: Tensor, ratio: float, dtype: torch.dtype) -> bool:
        """Let a kernel do it, where one can."""
        first, second, *masks = self.inputs
        keeps = [None if _is_constant(mask) else mask for mask in masks] or [None, None]
        if not kernels.fit(self.origin, first, second, *(keep for keep in keeps if keep is not None), target):
            return False
        from darwin_mri.kernels.elect import elect

        elect(
            self.origin, (first, second), (keeps[0], keeps[1]), target, dtype, given=self.split is as_they_are, levels=election.levels,
            factors=election.factors, weight=election.weight, ratio=ratio, divide=election.divide, scale=election.scale,
        )  # fmt: skip
        return True


def toward(origin: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    """The split of an interpolation."""
    return (other - origin,)


def as_they_are(origin: Tensor, *contributions: Tensor) -> tuple[Tensor, ...]:
    """The split of a blend that holds its contributions."""
    return contributions


def _is_constant(tensor: Tensor) -> bool:
    """Whether all elements are one element in memory, as in the mask of a density of 1."""
    return tensor.numel() > 1 and not any(tensor.stride())


def _held_bytes(tensor: Tensor) -> int:
    return tensor.element_size() if _is_constant(tensor) else tensor.nbytes


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if _is_constant(tensor):
        return tensor.flatten()[:1].to(device).expand(tensor.numel()).view(tensor.shape)
    return tensor.to(device)
