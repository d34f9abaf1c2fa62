"""Model Stock: as far from the base towards the parents' average as the angles between them say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from darwin_mri.merging.methods import vectors as of

SINGULAR = 1e-6  # a denominator so near 0 gives no estimate


def model_stock(tensors: Sequence[Tensor], base: Tensor, *, filter_wise: bool = False, floor: float = 0.0) -> Tensor:
    """B + t (mean of the parents - B), t from the angle between task vectors (arXiv 2403.19522, equation 7 for N).

    t = N c / (1 + (N - 1) c), c the mean cosine over the pairs of task vectors; a zero vector counts as right-angled.
    t is not clamped: it is negative where task vectors oppose each other, and 0 where the denominator vanishes (both
    as in mergekit).

    Args:
        tensors: N >= 2 parents', of one shape, any floating dtype.
        base: of the same shape.
        filter_wise: one t for each row (the last dimension) instead of one for the tensor.
        floor: products of two lengths are taken as at least this; mergekit's is 1e-6, which keeps tensors whose task
            vectors are shorter than 1e-3 near the base. The paper has none.

    Returns:
        fp32, of that shape.
    """
    vectors = of.task_vectors(tensors, base)
    count = len(vectors)
    if filter_wise and base.dim() > 0:
        cosine = _row_cosine(vectors, floor)
    else:
        products = of.gram(vectors)
        lengths = np.sqrt(np.diag(products))
        pairs = [_over(products[i, j], lengths[i] * lengths[j], floor) for i, j in combinations(range(count), 2)]
        cosine = torch.tensor(float(np.mean(pairs)), dtype=torch.float64, device=base.device)
    denominator = 1 + (count - 1) * cosine
    singular = denominator.abs() < SINGULAR
    share = torch.where(singular, 0.0, count * cosine / denominator.where(~singular, 1.0))
    mean = of.combine(vectors, [1 / count] * count)
    return mean.mul_(share.float()).add_(base.float())


def _row_cosine(vectors: Sequence[Tensor], floor: float) -> Tensor:
    """The mean cosine over pairs, row by row: (..., 1) fp64."""
    lengths = [of.row_inner(vector, vector).sqrt() for vector in vectors]
    mean = torch.zeros_like(lengths[0])
    pairs = list(combinations(range(len(vectors)), 2))
    for i, j in pairs:
        product = (lengths[i] * lengths[j]).clamp(min=floor)
        some = product > 0
        mean += torch.where(some, of.row_inner(vectors[i], vectors[j]) / product.where(some, 1.0), 0.0).clamp(-1, 1)
    return mean / len(pairs)


def _over(product: float, lengths: float, floor: float) -> float:
    """A cosine; 0 where a length is."""
    lengths = max(lengths, floor)
    return float(np.clip(product / lengths, -1.0, 1.0)) if lengths > 0 else 0.0
