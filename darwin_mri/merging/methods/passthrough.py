"""Passthrough: one parent's tensor, scaled."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def passthrough(tensors: Sequence[Tensor], *, scale: float = 1.0) -> Tensor:
    """``scale`` times the only tensor, fp32 (mergekit's passthrough, which stacks are made with)."""
    (tensor,) = tensors
    return tensor.float() * scale
