"""Where a few steps down the fitness loss lead, all genes at once: the mean of preset ``response``.

Slopes at one point say nothing about genes that help only together, and the secant through two points on the diagonal
mixes every gene's curvature with all others' (docs/decisions/0012). A bounded quasi-Newton method (L-BFGS-B, Byrd et
al. 1995, doi:10.1137/0916069) follows the gradient that one backward pass gives for all genes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

FIRST_STEP = 0.2  # of upper: how far the first step moves the steepest gene
LINE_SEARCH = 4  # evaluations at most in one step's line search


@dataclass(frozen=True)
class Descent:
    """Where the descent led.

    Attributes:
        ratios: (genes,) reached.
        losses: at the start, then after every step.
    """

    ratios: np.ndarray
    losses: tuple[float, ...]


def descend(
    loss_and_slopes: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    first: tuple[float, np.ndarray],
    free: Sequence[bool],
    *,
    upper: float,
    steps: int,
) -> Descent:
    """Bounded descent from ``start``; genes that are not free stay at 0.

    Args:
        loss_and_slopes: the loss at given ratios (genes,), and its gradient (genes,).
        start: (genes,) ratios to begin at.
        first: what ``loss_and_slopes`` gives at ``start``, measured before.
        free: of each gene, whether it may move; frozen ones may not.
        upper: largest ratio; the smallest is 0.
        steps: at most so many.

    Returns:
        The ratios reached, and the losses on the way.
    """
    start = np.where(free, start, 0.0)
    loss, slopes = first
    steepest = float(np.abs(slopes[np.array(free)]).max(initial=0.0))
    if steps < 1 or steepest == 0.0:
        return Descent(start, (loss,))
    scale = FIRST_STEP * upper / steepest  # the method's first step is the gradient itself
    losses = [loss]

    def scaled(ratios: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = first if np.array_equal(ratios, start) else loss_and_slopes(ratios)
        return scale * value, scale * gradient

    result = minimize(
        scaled,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, upper if is_free else 0.0) for is_free in free],
        options={"maxiter": steps, "maxls": LINE_SEARCH},
        callback=lambda intermediate_result: losses.append(float(intermediate_result.fun) / scale),
    )
    return Descent(np.asarray(result.x), tuple(losses))
