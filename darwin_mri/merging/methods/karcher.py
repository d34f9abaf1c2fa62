"""The Karcher mean: the direction with the least squared angles to the parents', at their mean length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from darwin_mri.merging.methods import vectors as of


def karcher(
    tensors: Sequence[Tensor], weights: Sequence[float] | None = None, *, max_iter: int = 10, tol: float = 1e-5
) -> Tensor:
    """Riemannian mean of the parents on the unit sphere, times their mean length (arXiv 2603.04972; Karcher 1977).

    With u_k = x_k / |x_k| and weights a_k that sum to 1, start at m = sum a_k u_k / |.| and repeat
    s = sum a_k log_m(u_k), m <- cos |s| m + sin |s| s / |s|, where log_m(u) = (w / sin w) (u - cos(w) m) and
    cos w = m . u; the child is (sum a_k |x_k|) m. As m stays in the span of the u_k, the iteration runs on their inner
    products. mergekit's weights are all equal. A zero tensor has no direction, only a length. Parents that cancel
    (the start is shorter than tol) start from the first parent with a weight, as in mergekit, and a parent opposite
    to m, to which no shortest arc is unique, does not pull; this one case depends on the order of the parents.
    mergekit also leaves out directions of tensors shorter than tol; here the method is free of scale.

    Args:
        tensors: N parents', of one shape, any floating dtype.
        weights: one for each parent; None gives all the same.
        max_iter: iterations at most.
        tol: in radians; the iteration ends at a shorter step.

    Returns:
        fp32, of that shape.

    Raises:
        ConfigError: the weights sum to 0.
    """
    shares = np.array(of.normalized([1.0] * len(tensors) if weights is None else weights))
    vectors = of.task_vectors(tensors, None)
    products = of.gram(vectors)
    lengths = np.sqrt(np.diag(products))
    pulls = np.where(lengths > 0, shares, 0.0)
    if not pulls.any():
        return of.combine(vectors, [float(share) for share in shares])
    inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    units = products * np.outer(inverse, inverse)
    mean = _mean(units, pulls / pulls.sum() if abs(pulls.sum()) > tol else pulls, max_iter, tol)
    scale = float(shares @ lengths)
    return of.combine(vectors, [float(share) * scale for share in mean * inverse])


def _mean(units: np.ndarray, pulls: np.ndarray, max_iter: int, tol: float) -> np.ndarray:
    """The mean's coefficients on N unit vectors, given their (N, N) inner products and weights."""

    def length(coefficients: np.ndarray) -> float:
        return math.sqrt(max(0.0, float(coefficients @ units @ coefficients)))

    if (start := length(pulls)) < tol:
        mean = np.zeros_like(pulls)
        mean[np.flatnonzero(pulls)[0]] = 1.0
    else:
        mean = pulls / start
    for _ in range(max_iter):
        cosines = np.clip(units @ mean, -1.0, 1.0)
        angles = np.arccos(cosines)
        sines = np.sin(angles)
        drawn = (angles >= tol) & (sines >= tol)  # neither at the mean nor opposite to it
        strength = np.where(drawn, pulls * angles / np.where(drawn, sines, 1.0), 0.0)
        step = strength - float(strength @ cosines) * mean
        size = length(step)
        if size < tol:
            break
        mean = math.cos(size) * mean + math.sin(size) * step / size
        mean /= length(mean)
    return mean
