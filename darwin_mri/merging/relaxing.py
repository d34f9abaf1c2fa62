"""``relax``: what a child takes from others is held back where the base's inputs are large (AIM, arXiv 2502.02421).

The child is F + (C - F)(1 - (1 - omega) a) column by column, with C as the method has it and a = E|x_j| / max_j E|x_j|
of the base's inputs. The paper has B in the place of F, which is the same where the father is the base; the father is
taken so that a child of ratio 0 is the father, whatever omega is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darwin_mri.merging.blending import Blend
from darwin_mri.merging.moments import Moments
from darwin_mri.merging.streaming import Ratio, Ratios, WholeBlend


@dataclass(frozen=True)
class Magnitudes:
    """How large the base's inputs are.

    Attributes:
        file: of the base's moments, or the father's where there is no base.
        disk_names: name that the merge uses -> tensor on that model's disk.
    """

    file: Moments
    disk_names: Mapping[str, str]

    def of(self, name: str) -> Tensor | None:
        """A of a map's input, (width,) fp32 in [0, 1]; None where it was not measured."""
        own = self.file.input_of(self.disk_names[name])
        if own is None:
            return None
        magnitude = self.file.magnitude(own)
        return (magnitude / magnitude.max().clamp_min(1e-300)).float()


@dataclass(frozen=True, eq=False)
class Relaxed(WholeBlend):
    """A blend whose difference from the father is multiplied, column by column.

    Attributes:
        inner: as the method has it.
        father: F.
        factors: broadcast along F.
    """

    inner: Blend
    father: Tensor
    factors: Tensor

    @property
    def known(self) -> Mapping[Ratios, Tensor]:
        """The father alone: another parent is not reached."""
        return {ratios: tensor for ratios, tensor in self.inner.known.items() if not any(ratios)}

    @property
    def linear(self) -> bool:
        """As the method."""
        return self.inner.linear

    def child(self, ratio: Ratio, dtype: torch.dtype = torch.float32) -> Tensor:
        """The child's tensor at these ratios, a new one, rounded once to ``dtype``."""
        father = self.father.float()
        return (self.inner.child(ratio).sub_(father).mul_(self.factors).add_(father)).to(dtype)

    def kept(self, device: torch.device) -> Relaxed:
        """The same function, held on a device."""
        inner = self.inner.kept(device)
        return replace(self, inner=inner, father=self.father.to(device), factors=self.factors.to(device))

    def kept_bytes(self, device: torch.device) -> int:
        """What ``kept`` takes there."""
        return self.inner.kept_bytes(device) + self.father.nbytes + self.factors.nbytes


def relaxed(inner: Blend, father: Tensor, magnitude: Tensor, relax: float, *, transposed: bool) -> Relaxed:
    """A blend with omega = ``relax``.

    Args:
        inner: as the method has it.
        father: F as stored.
        magnitude: a, (width,).
        relax: omega.
        transposed: whether F is stored as (inputs, outputs).

    Returns:
        The blend.
    """
    factors = 1 - (1 - relax) * magnitude
    return Relaxed(inner, father, factors[:, None] if transposed else factors)
