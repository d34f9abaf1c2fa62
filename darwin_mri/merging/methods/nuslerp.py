"""NuSLERP: spherical interpolation by the parents' weights, of whole tensors or of their rows, or of task vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.merging.methods.vectors import row_inner, task_vectors

NO_SUM = 1e-6  # weights that sum to less are taken as equal, as mergekit does
NO_ANGLE = 1e-6  # a sine too small to divide by


def nuslerp(
    tensors: Sequence[Tensor],
    weights: Sequence[float],
    base: Tensor | None = None,
    *,
    flatten: bool = True,
    row_wise: bool = False,
) -> Tensor:
    """Interpolate two parents, or their task vectors, along the arc between them (Shoemake 1985; mergekit's NuSLERP).

    With t = w_2 / (w_1 + w_2), or 1/2 where the weights sum to 0, and w the angle between u and v:
    B + sin((1 - t) w) / sin(w) u + sin(t w) / sin(w) v, u and v the parents minus B, or whole without a base. Parallel
    and opposite vectors are interpolated linearly. The angle with a zero vector counts as right, as in mergekit: the
    other vector is then scaled by sin(t pi / 2). The angle depends on no vector's length; mergekit floors lengths
    at 1e-7.

    Args:
        tensors: the two parents', of one shape, any floating dtype.
        weights: one for each parent.
        base: of the same shape, or None.
        flatten: one angle for the whole tensor.
        row_wise: without ``flatten``, angles between vectors along the first dimension instead of the last.

    Returns:
        fp32, of that shape.
    """
    first, second = task_vectors(tensors, base)
    along_first = row_wise and not flatten and first.dim() > 1
    if along_first:
        first, second = (vector.transpose(0, -1).contiguous() for vector in (first, second))
    one, two = (vector.reshape(1, -1) if flatten or vector.dim() == 0 else vector for vector in (first, second))
    whole = sum(weights)
    t = 0.5 if abs(whole) < NO_SUM else weights[1] / whole
    share_first, share_second = _shares(one, two, t)
    merged = (one * share_first.float()).add_(two * share_second.float()).reshape(first.shape)
    if along_first:
        merged = merged.transpose(0, -1)
    return merged.contiguous() if base is None else merged + base.float()


def _shares(first: Tensor, second: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """What each row of two (..., length) tensors is multiplied with: two (..., 1) tensors, fp64."""
    length_product = row_inner(first, first).sqrt() * row_inner(second, second).sqrt()
    some = length_product > 0
    cosine = torch.where(some, row_inner(first, second) / length_product.where(some, 1.0), 0.0).clamp(-1, 1)
    angle = cosine.acos()
    sine = angle.sin()
    straight = sine < NO_ANGLE
    safe = sine.where(~straight, 1.0)
    shares = (
        torch.where(straight, share, torch.sin(share * angle) / safe)
        for share in (torch.full_like(angle, 1 - t), torch.full_like(angle, t))
    )
    share_first, share_second = shares
    return share_first, share_second
