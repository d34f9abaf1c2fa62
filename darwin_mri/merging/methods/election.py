"""TIES' election among any number of task vectors: one sign for each element, and the vectors that have it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging.methods.spec import DIVIDES

NO_WEIGHT = 1e-30  # a weight so near 0 divides nothing
ROUNDING = 1e-7  # of fp32: signed weights that sum to less of their size sum to 0


def elect(vectors: Sequence[Tensor], weights: Sequence[float], divide: str, *, by_count: bool = False) -> Tensor:
    """Elect a sign for each element and merge the vectors that have it (arXiv 2306.01708, steps 2 and 3).

    With the elected sign g and the agreeing parents A = {k : sgn(v_k) = g, v_k not 0}, the child's task vector is
    sum_A v_k / D(A):

    * ``none``: D = 1.
    * ``weights``: D = sum_A w_k, signs included, or 1 where that is 0. The paper's mean, and mergekit's
      ``normalize: true``.
    * ``ratio``: D = 1 where one parent agrees alone, else sum_A |w_k| + max |w| - max_A |w_k|. Where all weights are 1
      that is the paper's mean too. Where the heaviest parent agrees it is the sum of the weights; where only lighter
      ones do, the heaviest of them counts as the heaviest of all, so that small weights remain a small step.

    Args:
        vectors: v_k, each parent's trimmed or masked task vector times its weight; of one shape, fp32.
        weights: w_k, in the same order.
        divide: ratio, weights or none.
        by_count: elect the sign that more parents have, instead of the one with more summed mass.

    Returns:
        The merged task vector, a new fp32 tensor of that shape; 0 where nothing is elected.

    Raises:
        ConfigError: no vector, another number of weights, or an unknown ``divide``.
    """
    if not vectors or len(vectors) != len(weights):
        raise ConfigError(f"an election needs one weight for each task vector: {len(weights)} for {len(vectors)}")
    if divide not in DIVIDES:
        raise ConfigError(f"divide '{divide}' is unknown: choose one of {', '.join(DIVIDES)}")
    weights = [0.0 if abs(own) < NO_WEIGHT else own for own in weights]
    sign = elected_sign(vectors, by_count=by_count)
    merged, signed, size, largest = (torch.zeros_like(sign) for _ in range(4))
    count = torch.zeros_like(sign, dtype=torch.int32)
    for vector, weight in zip(vectors, weights, strict=True):
        value = (vector * sign).clamp_(min=0)
        merged.add_(value)
        if divide == "none":
            continue
        agrees = value.sign_()
        size.add_(agrees, alpha=abs(weight))
        if divide == "weights":
            signed.add_(agrees, alpha=weight)
        else:
            count.add_(agrees.int())
            largest = torch.maximum(largest, agrees.mul_(abs(weight)))
    if divide == "weights":
        signed.masked_fill_(signed.abs() <= size * ROUNDING, 1.0)
        merged.div_(signed)
    elif divide == "ratio":
        divisor = size.add_(max(abs(own) for own in weights)).sub_(largest)
        merged.div_(divisor.masked_fill_((count <= 1) | (divisor == 0), 1.0))
    return merged.mul_(sign)


def elected_sign(vectors: Sequence[Tensor], *, by_count: bool = False) -> Tensor:
    """The sign that the vectors elect, element by element (arXiv 2306.01708, step 2).

    It is sgn(sum_k v_k); with ``by_count`` sgn(sum_k sgn(v_k)), where equal counts fall back on the former. Values
    that cancel exactly elect nothing; mergekit then elects the positive sign, which depends on no vector.

    Args:
        vectors: at least one, of one shape, fp32.
        by_count: count parents instead of their mass.

    Returns:
        -1, 0 or 1 in fp32, of that shape.
    """
    sign = _sum(vectors).sign_()
    if by_count:
        counted = _sum([vector.sign() for vector in vectors]).sign_()
        sign = torch.where(counted == 0, sign, counted)
    return sign


def _sum(vectors: Sequence[Tensor]) -> Tensor:
    mass = vectors[0].clone()
    for vector in vectors[1:]:
        mass.add_(vector)
    return mass
