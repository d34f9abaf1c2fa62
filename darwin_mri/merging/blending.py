"""One tensor of a child as a function of the ratio: what a search keeps resident and what a writer streams.

Each kind of merge is a frozen dataclass that holds the parents' tensors and numbers; ``operators`` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from darwin_mri import kernels
from darwin_mri.errors import ConfigError
from darwin_mri.merging.streaming import StreamedBlend, is_constant, require_ratio

NO_WEIGHT = 1e-30  # a weight so near 0 divides nothing
ROUNDING = 1e-7  # of fp32: weights that sum to less of their size sum to 0


class Blend(Protocol):
    """One tensor of the child as a function of the ratio."""

    @property
    def known(self) -> Mapping[float, Tensor]:
        """Children that need no arithmetic, by ratio."""
        ...

    @property
    def linear(self) -> bool:
        """Whether the child is the father plus the ratio times one vector."""
        ...

    def child(self, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at a ratio, a new one, rounded once to ``dtype``."""
        ...

    def write(self, target: Tensor, ratio: float, dtype: torch.dtype) -> None:
        """Write the child into a tensor.

        Args:
            target: of the father's shape; its dtype may be wider than ``dtype``.
            ratio: of the other parent.
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
    """From the father F to another parent M, which is the child at ratio 1: straight, or along an arc.

    Attributes:
        origin: F.
        contributions: M - F; M itself on an arc.
        angle: between F and M as flat vectors, in radians; None goes straight.
    """

    angle: float | None = None

    @property
    def linear(self) -> bool:
        """Whether the way is straight."""
        return self.angle is None

    def _join(self, ratio: float, origin: Tensor, *contributions: Tensor) -> Tensor:
        (other,) = contributions
        if self.angle is None:
            return _add(ratio, origin, other)
        share_father, share_other = (
            math.sin(share * self.angle) / math.sin(self.angle) for share in (1 - ratio, ratio)
        )
        return (origin * share_father).add_(other * share_other)

    def _write_with_kernel(self, target: Tensor, ratio: float, dtype: torch.dtype) -> bool:
        return self.linear and _add_with_kernel(self, target, ratio, dtype)


@dataclass(frozen=True, eq=False)
class TaskVector(StreamedBlend):
    """Task vectors added up: F + r v where the father stays whole, else B + s (u + r v).

    Attributes:
        origin: the father F where it stays whole, else the base B.
        contributions: v of the other parent; or the father's u, and v.
        scale: s; 1 where the father stays whole.
    """

    scale: float = 1.0

    @property
    def linear(self) -> bool:
        """Whether the father stays whole."""
        return len(self.contributions) == 1

    def _join(self, ratio: float, origin: Tensor, *contributions: Tensor) -> Tensor:
        if self.linear:
            return _add(ratio, origin, *contributions)
        own, other = contributions
        return (other * ratio).add_(own).mul_(self.scale).add_(origin)

    def _holds_inputs(self, device: torch.device) -> bool:
        # One vector is what the kernel reads.
        return not self.linear and super()._holds_inputs(device)

    def _write_with_kernel(self, target: Tensor, ratio: float, dtype: torch.dtype) -> bool:
        ready = self.linear and self.contributions[0].base is None
        return ready and _add_with_kernel(self, target, ratio, dtype)


@dataclass(frozen=True, eq=False)
class Election(StreamedBlend):
    """TIES' election between two task vectors: B + s elected(w u, r v), see ``elect``.

    Attributes:
        origin: the base B.
        contributions: the father's u and the other parent's v.
        weight: w, the father's.
        divide: how agreeing vectors are averaged: ratio, weights or none (``Settings``).
        scale: s.
    """

    weight: float
    divide: str
    scale: float

    @property
    def linear(self) -> bool:
        """Never: which parent is elected depends on the ratio."""
        return False

    def _join(self, ratio: float, origin: Tensor, *contributions: Tensor) -> Tensor:
        u, v = (
            vector if weight == 1.0 else vector * weight
            for vector, weight in zip(contributions, (self.weight, ratio), strict=True)
        )
        magnitude, sign = elect(u, v, self.weight, ratio, self.divide)
        if self.scale != 1.0:
            magnitude.mul_(self.scale)
        return magnitude.mul_(sign).add_(origin)

    def _write_with_kernel(self, target: Tensor, ratio: float, dtype: torch.dtype) -> bool:
        father, other = self.contributions
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
    def known(self) -> Mapping[float, Tensor]:
        """None: every ratio is as cheap."""
        return {}

    @property
    def linear(self) -> bool:
        """Never: a neuron is the father's or the donor's."""
        return False

    def child(self, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at a ratio, a new one, in ``dtype``.

        Raises:
            ConfigError: the ratio is negative or no number.
        """
        require_ratio(ratio)
        if ratio < 0:
            raise ConfigError(f"ratio {ratio} must be a number of at least 0: the share of neurons that are replaced")
        return torch.where(self.order < ratio, self.donor, self.father).to(dtype)

    def write(self, target: Tensor, ratio: float, dtype: torch.dtype) -> None:
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


def elect(father: Tensor, other: Tensor, weight: float, ratio: float, divide: str) -> tuple[Tensor, Tensor]:
    """TIES' election by summed mass and the mean over the parents that agree (arXiv 2306.01708, steps 2 and 3).

    The elected sign is sgn(father + other). Where one parent has it, that parent's value stands, where both have it
    their sum; each is divided as ``divisors`` says.

    Args:
        father: w times the trimmed or masked F - B, any shape, fp32.
        other: r times the other parent's, of the same shape.
        weight: w.
        ratio: r.
        divide: ratio, weights or none (``Settings``).

    Returns:
        Magnitude and sign, in that shape, whose product is the merged vector.
    """
    # Arithmetic throughout, as where() on random conditions costs ten times more.
    sign = (father + other).sign_()
    father, other = (father * sign).clamp_(min=0), (other * sign).clamp_(min=0)
    both = torch.minimum(father, other).sign_()  # 1 where both have the elected sign, else 0
    *alone, shared = divisors(weight, ratio, divide)
    for value, own in zip((father, other), alone, strict=True):
        if own != 1.0:
            value.mul_(both.mul(1 - 1 / own).add_(1 / own))
    magnitude = father.add_(other)
    if shared != 1.0:
        magnitude.addcmul_(magnitude, both, value=1 / shared - 1)
    return magnitude, sign


def divisors(weight: float, ratio: float, divide: str) -> tuple[float, float, float]:
    """What an elected value is divided by: where the father alone agrees, where the other alone does, where both do.

    ``ratio`` differs from the paper's mean off r = 1 alone: a mean divided by the other parent's weight would hand its
    value over whole at any r > 0. A negative weight there is that of the negated task vector. ``weights`` divides by
    signed weights, and by 1 where they sum to 0, as mergekit does.

    Args:
        weight: w, the father's.
        ratio: r, the other's.
        divide: ratio, weights or none (``Settings``).

    Returns:
        Three numbers, none of them 0.
    """
    weight, ratio = (0.0 if abs(own) < NO_WEIGHT else own for own in (weight, ratio))
    size = abs(weight) + abs(ratio)
    if divide == "none":
        return 1.0, 1.0, 1.0
    if divide == "ratio":
        return 1.0, 1.0, size or 1.0
    shared = weight + ratio
    return weight or 1.0, ratio or 1.0, shared if abs(shared) > ROUNDING * size else 1.0


def _add(ratio: float, origin: Tensor, vector: Tensor) -> Tensor:
    """Origin + r v, one rounding per operation: fused kernels round by device and length."""
    return (vector * ratio).add_(origin)


def _add_with_kernel(blend: StreamedBlend, target: Tensor, ratio: float, dtype: torch.dtype) -> bool:
    """Write origin + r v with a kernel, v given or the way to another parent; False where it cannot."""
    (vector,) = blend.contributions
    if not kernels.fit(blend.origin, vector.tensor, target):
        return False
    from darwin_mri.kernels.blend import blend as blend_with_kernel

    blend_with_kernel(blend.origin, vector.tensor, ratio, target, dtype, toward=vector.base is not None)
    return True
