"""One tensor of a child as a function of the ratios: what a search keeps resident and what a writer streams.

Each kind of merge is a frozen dataclass that holds the parents' tensors and numbers; ``operators`` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from darwin_mri import kernels
from darwin_mri.errors import ConfigError
from darwin_mri.merging.election import divisors, elect
from darwin_mri.merging.methods.election import elect as elect_any
from darwin_mri.merging.streaming import Ratio, Ratios, StreamedBlend, as_ratios, is_constant


class Blend(Protocol):
    """One tensor of the child as a function of the ratios, one for each other parent."""

    @property
    def known(self) -> Mapping[Ratios, Tensor]:
        """Children that need no arithmetic, by ratios."""
        ...

    @property
    def linear(self) -> bool:
        """Whether the child is the father plus each ratio times a vector."""
        ...

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``."""
        ...

    def write(self, target: Tensor, ratio: Ratio, dtype: torch.dtype) -> None:
        """Write the child into a tensor.

        Args:
            target: of the father's shape; its dtype may be wider than ``dtype``.
            ratio: of each other parent.
            dtype: the child is rounded to it, once.
        """
        ...

    def kept(self, device: torch.device) -> Blend:
        """The same function, held on a device: fast at every ratio."""
        ...

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        ...


@dataclass(frozen=True, eq=False)
class Interpolation(StreamedBlend):
    """From the father F to other parents, each of which is the child at its ratio 1: straight, or along an arc to one.

    Attributes:
        origin: F.
        contributions: M - F of each other parent M; M itself on an arc.
        angle: between F and M as flat vectors, in radians; None goes straight.
    """

    angle: float | None = None

    @property
    def linear(self) -> bool:
        """Whether the way is straight."""
        return self.angle is None

    def _join(self, ratios: Ratios, origin: Tensor, *contributions: Tensor) -> Tensor:
        if self.angle is None:
            return _add(ratios, origin, contributions)
        (other,), (ratio,) = contributions, ratios
        share_father, share_other = (
            math.sin(share * self.angle) / math.sin(self.angle) for share in (1 - ratio, ratio)
        )
        return (origin * share_father).add_(other * share_other)

    def _write_with_kernel(self, target: Tensor, ratios: Ratios, dtype: torch.dtype) -> bool:
        return self.linear and _add_with_kernel(self, target, ratios, dtype)


@dataclass(frozen=True, eq=False)
class TaskVector(StreamedBlend):
    """Task vectors added up: F + sum r v where the father stays whole, else B + s (u + sum r v).

    Attributes:
        origin: the father F where it stays whole, else the base B.
        contributions: v of each other parent, after the father's u where it does not stay whole.
        scale: s; None where the father stays whole.
    """

    scale: float | None = None

    @property
    def linear(self) -> bool:
        """Whether the father stays whole."""
        return self.scale is None

    def _join(self, ratios: Ratios, origin: Tensor, *contributions: Tensor) -> Tensor:
        if self.scale is None:
            return _add(ratios, origin, contributions)
        own, first, *others = contributions
        out = (first * ratios[0]).add_(own)
        for ratio, other in zip(ratios[1:], others, strict=True):
            out.add_(other * ratio)
        return out.mul_(self.scale).add_(origin)

    def _holds_inputs(self, device: torch.device) -> bool:
        # One vector is what the kernel reads.
        return not self.linear and super()._holds_inputs(device)

    def _write_with_kernel(self, target: Tensor, ratios: Ratios, dtype: torch.dtype) -> bool:
        ready = self.linear and self.contributions[0].base is None
        return ready and _add_with_kernel(self, target, ratios, dtype)


@dataclass(frozen=True, eq=False)
class Election(StreamedBlend):
    """TIES' election between task vectors: B + s elected(w u, r v, ...), see ``election``.

    Among more than two vectors it is that of ``methods.election``.

    Attributes:
        origin: the base B.
        contributions: the father's u and each other parent's v.
        weight: w, the father's.
        divide: how agreeing vectors are averaged: ratio, weights or none (``Settings``).
        scale: s.
    """

    weight: float
    divide: str
    scale: float

    @property
    def linear(self) -> bool:
        """Never: which parent is elected depends on the ratios."""
        return False

    def _join(self, ratios: Ratios, origin: Tensor, *contributions: Tensor) -> Tensor:
        weights = (self.weight, *ratios)
        weighted = [
            vector if weight == 1.0 else vector * weight for vector, weight in zip(contributions, weights, strict=True)
        ]
        if len(weighted) > 2:
            return elect_any(weighted, weights, self.divide).mul_(self.scale).add_(origin)
        (u, v), (ratio,) = weighted, ratios
        magnitude, sign = elect(u, v, self.weight, ratio, self.divide)
        if self.scale != 1.0:
            magnitude.mul_(self.scale)
        return magnitude.mul_(sign).add_(origin)

    def _write_with_kernel(self, target: Tensor, ratios: Ratios, dtype: torch.dtype) -> bool:
        if len(ratios) != 1:
            return False
        (father, other), ratio = self.contributions, ratios[0]
        keeps = [None if part.mask is None or is_constant(part.mask) else part.mask for part in self.contributions]
        masks = [keep for keep in keeps if keep is not None]
        if not kernels.fit(self.origin, father.tensor, other.tensor, *masks, target):
            return False
        from darwin_mri.kernels.elect import elect as elect_with_kernel

        elect_with_kernel(
            self.origin,
            (father.tensor, other.tensor),
            (keeps[0], keeps[1]),
            target,
            dtype,
            given=father.base is None,
            levels=None if father.level is None or other.level is None else (father.level, other.level),
            factors=(father.factor, other.factor),
            weight=self.weight,
            ratio=ratio,
            divisors=divisors(self.weight, ratio, self.divide),
            scale=self.scale,
        )
        return True


@dataclass(frozen=True, eq=False)
class Replacement:
    """The donor's values where the order lies below the ratio, the father's elsewhere: the ratio is a share of neurons.

    Attributes:
        father: the father's tensor.
        donor: of the same shape.
        order: when each neuron is replaced, in [0, 1), broadcast along the tensor.
    """

    father: Tensor
    donor: Tensor
    order: Tensor

    @property
    def known(self) -> Mapping[Ratios, Tensor]:
        """None: every ratio is as cheap."""
        return {}

    @property
    def linear(self) -> bool:
        """Never: a neuron is the father's or the donor's."""
        return False

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at a ratio, a new one, in ``dtype``.

        Raises:
            ConfigError: the ratio is negative or no number.
        """
        (ratio,) = as_ratios(ratio)
        if ratio < 0:
            raise ConfigError(f"ratio {ratio} must be a number of at least 0: the share of neurons that are replaced")
        return torch.where(self.order < ratio, self.donor, self.father).to(dtype)

    def write(self, target: Tensor, ratio: Ratio, dtype: torch.dtype) -> None:
        """Write the child into a tensor.

        Args:
            target: of the father's shape; its dtype may be wider than ``dtype``.
            ratio: share of the neurons that are the donor's.
            dtype: what the child is rounded to.
        """
        target.copy_(self.child(ratio, dtype))

    def kept(self, device: torch.device) -> Replacement:
        """The same function, held on a device."""
        return replace(self, father=self.father.to(device), donor=self.donor.to(device), order=self.order.to(device))

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return self.father.nbytes + self.donor.nbytes + self.order.nbytes


def _add(ratios: Ratios, origin: Tensor, vectors: Sequence[Tensor]) -> Tensor:
    """Origin + sum r v, one rounding per operation: fused kernels round by device and length."""
    out = (vectors[0] * ratios[0]).add_(origin)
    for ratio, vector in zip(ratios[1:], vectors[1:], strict=True):
        if ratio:  # a parent of ratio 0 changes no bit
            out.add_(vector * ratio)
    return out


def _add_with_kernel(blend: StreamedBlend, target: Tensor, ratios: Ratios, dtype: torch.dtype) -> bool:
    """Write origin + r v with a kernel, v given or the way to another parent; False where it cannot."""
    if len(ratios) != 1:
        return False
    vector, ratio = blend.contributions[0], ratios[0]
    if not kernels.fit(blend.origin, vector.tensor, target):
        return False
    from darwin_mri.kernels.blend import blend as blend_with_kernel

    blend_with_kernel(blend.origin, vector.tensor, ratio, target, dtype, toward=vector.base is not None)
    return True
