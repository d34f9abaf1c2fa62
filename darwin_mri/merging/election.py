"""TIES' election between two task vectors, in the few operations that a kernel repeats bit for bit.

Any number of vectors is ``methods.election``'s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from darwin_mri.merging.methods.election import NO_WEIGHT, ROUNDING


def elect(father: Tensor, other: Tensor, weight: float, ratio: float, divide: str) -> tuple[Tensor, Tensor]:
    """TIES' election by summed mass and the mean over the parents that agree (arXiv 2306.01708, steps 2 and 3).

    The elected sign is sgn(father + other). Where one parent has it, that parent's value stands, where both have it
    their sum; each is divided as ``divisors`` says.

    Args:
        father: w times the trimmed or masked F - B, any shape, fp32.
        other: r times the other parent's, of the same shape.
        weight: w.
        ratio: r.
        divide: ratio, weights or none (``Settings``).

    Returns:
        Magnitude and sign, in that shape, whose product is the merged vector.
    """
    # Arithmetic throughout, as where() on random conditions costs ten times more.
    sign = (father + other).sign_()
    father, other = (father * sign).clamp_(min=0), (other * sign).clamp_(min=0)
    both = torch.minimum(father, other).sign_()  # 1 where both have the elected sign, else 0
    *alone, shared = divisors(weight, ratio, divide)
    for value, own in zip((father, other), alone, strict=True):
        if own != 1.0:
            value.mul_(both.mul(1 - 1 / own).add_(1 / own))
    magnitude = father.add_(other)
    if shared != 1.0:
        magnitude.addcmul_(magnitude, both, value=1 / shared - 1)
    return magnitude, sign


def divisors(weight: float, ratio: float, divide: str) -> tuple[float, float, float]:
    """What an elected value is divided by: where the father alone agrees, where the other alone does, where both do.

    ``ratio`` differs from the paper's mean off r = 1 alone: a mean divided by the other parent's weight would hand its
    value over whole at any r > 0. A negative weight there is that of the negated task vector. ``weights`` divides by
    signed weights, and by 1 where they sum to 0, as mergekit does.

    Args:
        weight: w, the father's.
        ratio: r, the other's.
        divide: ratio, weights or none (``Settings``).

    Returns:
        Three numbers, none of them 0.
    """
    weight, ratio = (0.0 if abs(own) < NO_WEIGHT else own for own in (weight, ratio))
    size = abs(weight) + abs(ratio)
    if divide == "none":
        return 1.0, 1.0, 1.0
    if divide == "ratio":
        return 1.0, 1.0, size or 1.0
    shared = weight + ratio
    return weight or 1.0, ratio or 1.0, shared if abs(shared) > ROUNDING * size else 1.0
