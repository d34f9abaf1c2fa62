"""Reinforced Agent Merging: what one parent alone changed is kept whole, what several changed is averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.merging.methods.vectors import task_vectors


def ram(tensors: Sequence[Tensor], base: Tensor, *, threshold: float = 1e-5) -> Tensor:
    """B + v_k where parent k alone changed an element, B + the mean of those who did elsewhere (arXiv 2601.13572, RAM).

    Args:
        tensors: N parents', of one shape, any floating dtype.
        base: of the same shape.
        threshold: a parent has changed an element where |v_k| > threshold; smaller changes are dropped.

    Returns:
        fp32, of that shape.
    """
    return _merge(tensors, base, threshold, 0.0, 0.0)


def ramplus_tl(
    tensors: Sequence[Tensor], base: Tensor, *, r: float = 0.1, alpha: float = 0.2, threshold: float = 1e-5
) -> Tensor:
    """As ``ram``, and what parent k alone changed is multiplied with 1 + r min(rho_k, alpha) (arXiv 2601.13572, RAM+).

    rho_k is the number of elements that parent k changed together with others over the number that it changed alone.
    The paper counts over the whole model; "tensor-local" counts within each tensor, as mergekit does.

    Args:
        tensors: N parents', of one shape, any floating dtype.
        base: of the same shape.
        r: how strongly lone changes are amplified.
        alpha: the largest rho that counts.
        threshold: a parent has changed an element where |v_k| > threshold; smaller changes are dropped.

    Returns:
        fp32, of that shape.
    """
    return _merge(tensors, base, threshold, r, alpha)


def _merge(tensors: Sequence[Tensor], base: Tensor, threshold: float, r: float, alpha: float) -> Tensor:
    vectors = task_vectors(tensors, base)
    for vector in vectors:
        vector.masked_fill_(vector.abs() <= threshold, 0.0)
    count = torch.zeros_like(vectors[0], dtype=torch.int32)
    for vector in vectors:
        count.add_(vector != 0)
    alone, divisor = count == 1, count.clamp(min=1)
    merged = torch.zeros_like(vectors[0])
    for vector in vectors:
        changed = vector != 0
        own = int((changed & alone).sum())
        shared = int(changed.sum()) - own
        part = vector / divisor
        if own and r:
            part.mul_(1 + alone * (r * min(shared / own, alpha)))
        merged.add_(part)
    return merged.add_(base.float())
