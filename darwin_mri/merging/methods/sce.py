"""SCE: select the elements that vary between parents, calculate weights from their squares, erase minority signs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.merging.blocks import by_blocks
from darwin_mri.merging.methods.election import elected_sign
from darwin_mri.merging.methods.vectors import gram, order_statistics, task_vectors


def sce(tensors: Sequence[Tensor], base: Tensor, *, select_topk: float = 1.0, floor: float = 0.0) -> Tensor:
    """B + sum_A w_k v_k / sum_A w_k, element by element, over the parents A with the elected sign (arXiv 2408.07990).

    Select: below 1, ``select_topk`` of the elements that differ between task vectors v_k are kept, those of largest
    variance; equal variances are kept together (mergekit: some of them). Calculate: w_k = |v_k|^2 / sum |v_j|^2 of
    what is kept. Erase: the elected sign is that of sum v_k; values that cancel exactly elect none (mergekit: the
    positive sign).

    Args:
        tensors: N parents', of one shape, any floating dtype.
        base: of the same shape.
        select_topk: share of the varying elements to keep, in [0, 1].
        floor: where the summed mean squares are below it, all weights are equal, and no sum of weights is taken as
            smaller. mergekit's is 1e-6, which task vectors of two parents reach with elements of 7e-4: shorter ones
            have equal weights there. The paper has none.

    Returns:
        fp32, of that shape.
    """
    vectors = task_vectors(tensors, base)
    if select_topk < 1:
        keep = selected(vectors, select_topk)
        vectors = [vector * keep for vector in vectors]
    squares = [float(square) / max(base.numel(), 1) for square in gram(vectors).diagonal()]
    whole = sum(squares)
    equal = whole < floor or whole == 0
    weights = [1 / len(vectors) if equal else square / whole for square in squares]
    sign = elected_sign(vectors)
    merged, shares = torch.zeros_like(sign), torch.zeros_like(sign)
    for vector, weight in zip(vectors, weights, strict=True):
        agrees = (vector * sign).sign_().clamp_(min=0)
        merged.add_(vector * agrees, alpha=weight)
        shares.add_(agrees, alpha=weight)
    return merged.div_(shares.masked_fill_(shares == 0, 1.0).clamp_(min=floor)).add_(base.float())


def selected(vectors: Sequence[Tensor], share: float) -> Tensor:
    """Which elements vary most between task vectors.

    Args:
        vectors: N >= 1 task vectors of one shape, fp32.
        share: of the elements whose variance is not 0, how many are kept.

    Returns:
        1 where an element is kept, else 0; fp32 of that shape.
    """

    def deviation(*parts: Tensor) -> Tensor:
        return torch.stack([part.double() for part in parts]).var(dim=0, unbiased=False).sqrt_()

    deviations = by_blocks(deviation, *vectors)  # ranks as the variance, and fp32 holds its square root
    varying = int(deviations.count_nonzero())
    kept = int(varying * share)
    (level,) = order_statistics(deviations, [deviations.numel() - kept]) if kept > 0 else [math.inf]
    return (deviations >= level).float()
