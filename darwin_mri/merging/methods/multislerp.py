"""Multi-SLERP: the weighted mean direction of any number of parents at their mean length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from darwin_mri.merging.methods import vectors as of


def multislerp(
    tensors: Sequence[Tensor],
    weights: Sequence[float],
    base: Tensor | None = None,
    *,
    normalize: bool = True,
    eps: float = 1e-8,
) -> Tensor:
    """Move along the mean direction of the parents (goddard.blog/posts/multislerp-wow-what-a-cool-idea).

    With v_k the parents minus B (whole without a base), u_k = v_k / |v_k| and m = sum w_k u_k:
    B + (sum w_k |v_k|) m / |m|. The blog and mergekit then map the u_k into the tangent space at m / |m|, sum them with
    the same weights and map the sum back; that sum is m - (m . m) m / |m|^2 = 0 for any weights, so the step is left
    out. Where |m| < eps no direction is common: B + sum w_k v_k, for any number of parents (mergekit: for two, more are
    an error, which an untouched tensor of a base would be). Lengths are exact; mergekit adds eps to each.

    Args:
        tensors: N parents', of one shape, any floating dtype.
        weights: one for each parent.
        base: of the same shape, or None.
        normalize: divide the weights by their sum.
        eps: a mean of unit vectors shorter than this has no direction.

    Returns:
        fp32, of that shape.

    Raises:
        ConfigError: the weights are to be normalized and sum to 0.
    """
    weights = of.normalized(weights) if normalize else list(weights)
    vectors = of.task_vectors(tensors, base)
    products = of.gram(vectors)
    lengths = np.sqrt(np.diag(products))
    per_length = np.array(weights) / np.where(lengths > 0, lengths, np.inf)  # m = sum per_length_k v_k
    mean = math.sqrt(max(0.0, float(per_length @ products @ per_length)))
    if mean < eps:
        return of.combine(vectors, weights, base)
    step = float(np.dot(weights, lengths)) / mean
    return of.combine(vectors, [float(share) * step for share in per_length], base)
