"""NearSwap: another parent's values where they are near the father's, a short step towards them elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError


def nearswap(tensors: Sequence[Tensor], *, t: float = 1e-4) -> Tensor:
    """F + s (M - F) with s = min(1, t / |M - F|) (alchemonaut's QuartetAnemoi-70B-t0.0001).

    That is M where it lies within t of F, else F moved by t towards M. mergekit floors |M - F| at 1e-6, which is the
    same for t >= 1e-6.

    Args:
        tensors: the father's (mergekit's base) and the other parent's, of one shape, any floating dtype.
        t: the largest step, at least 0, in units of the weights.

    Returns:
        fp32, of that shape.

    Raises:
        ConfigError: t is negative.
    """
    if t < 0:
        raise ConfigError(f"t {t} of nearswap must be a finite number of at least 0: the largest step from the father")
    father, other = (tensor.float() for tensor in tensors)
    way = other - father
    return torch.where(way.abs() <= t, other, way.clamp_(-t, t).add_(father))
