"""NuSLERP: spherical interpolation by the parents' weights, of whole tensors or of their rows, or of task vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.merging.methods.vectors import gram, row_inner, task_vectors

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
    whole = sum(weights)
    t = 0.5 if abs(whole) < NO_SUM else weights[1] / whole
    along_first = row_wise and not flatten and first.dim() > 1
    if along_first:
        first, second = (vector.transpose(0, -1).contiguous() for vector in (first, second))
    if flatten or first.dim() == 0:
        products = gram([first, second])
        shares = _shares(*(torch.tensor(products[i, j]) for i, j in ((0, 0), (1, 1), (0, 1))), t=t)
    else:
        shares = _shares(row_inner(first, first), row_inner(second, second), row_inner(first, second), t)
    share_first, share_second = (share.float().to(first.device) for share in shares)
    merged = (first * share_first).add_(second * share_second)
    if along_first:
        merged = merged.transpose(0, -1)
    return merged.contiguous() if base is None else merged + base.float()


def _shares(first: Tensor, second: Tensor, both: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """What the vectors are multiplied with at t of the arc, given squared lengths and inner products, fp64."""
    lengths = first.sqrt() * second.sqrt()
    some = lengths > 0
    angle = torch.where(some, both / lengths.where(some, 1.0), 0.0).clamp(-1, 1).acos()
    sine = angle.sin()
    straight = sine < NO_ANGLE
    safe = sine.where(~straight, 1.0)
    share_first, share_second = (torch.where(straight, share, torch.sin(share * angle) / safe) for share in (1 - t, t))
    return share_first, share_second
