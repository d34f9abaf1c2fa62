"""Arcee Fusion: another parent's elements replace the father's where they change a row's distribution the most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.merging.blocks import BLOCK
from darwin_mri.merging.methods.vectors import order_statistics

EPS = 1e-8  # added to probabilities


def arcee_fusion(tensors: Sequence[Tensor]) -> Tensor:
    """M where the importance is at least the threshold, F elsewhere (arcee.ai; mergekit's arcee_fusion).

    Importance = |M - F| KL(softmax(M) + 1e-8 || softmax(F) + 1e-8), with softmax and divergence along the last
    dimension; threshold = median + 1.5 (third quartile - first), where the quantile q of n values is that of rank
    floor(q (n - 1)). Divergences are computed in fp64: those of near parents are below fp32's rounding error, which
    chose otherwise for 12 to 16 % of the elements of random matrices of size 1 that differ by 1e-4.
    The quartiles are those of all elements, mergekit's beyond a million those of a random sample.

    Args:
        tensors: the father's (mergekit's base) and the other parent's, of one shape, any floating dtype.

    Returns:
        fp32, of that shape.
    """
    father, other = (tensor.float() for tensor in tensors)
    values = importance(father, other)
    return torch.where(values >= threshold(values), other, father) if values.numel() else father.clone()


def importance(father: Tensor, other: Tensor) -> Tensor:
    """How much each element of another parent changes its row, fp32 of the tensors' shape."""
    length = father.shape[-1] if father.dim() else 1
    rows, others = father.reshape(-1, length), other.reshape(-1, length)
    step = max(1, BLOCK // max(length, 1))
    values = torch.empty_like(rows)
    for start in range(0, rows.shape[0], step):
        f, m = rows[start : start + step].double(), others[start : start + step].double()
        p, q = m.softmax(dim=-1).add_(EPS), f.softmax(dim=-1).add_(EPS)
        divergence = (p * (p.log() - q.log())).sum(dim=-1, keepdim=True).clamp_(min=0)
        values[start : start + step] = (m - f).abs_().mul_(divergence)
    return values.reshape(father.shape)


def threshold(values: Tensor) -> float:
    """The importance from which elements are replaced: median + 1.5 interquartile ranges."""
    first, median, third = order_statistics(values, [int(q * (values.numel() - 1)) for q in (0.25, 0.5, 0.75)])
    return median + 1.5 * (third - first)
