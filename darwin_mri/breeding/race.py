"""Racing: a candidate clearly worse than the better half of its generation is not scored on the remaining items.

After each block the candidates still running are ranked by their mean score so far (all have seen the same items). Each
one below the better half is compared, item by item, with the last of that half. With d the differences of the two
candidates' item scores and n their number, a candidate is stopped when

    mean(d) + t(1 - alpha, n - 1) sd(d) / sqrt(n) < 0,

the one-sided paired t bound of F-Race's family (Birattari et al. 2002; paired t as in t-Race, Maron and Moore 1997 for
the idea). Several benchmarks are weighted: means and variances of the means add up with their weights. Nothing is known
of the remaining items, so a stopped candidate keeps the estimate from those it has; its rank in the worse half is all
that CMA-ES uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.special import stdtrit

from darwin_mri.breeding.workers import ItemScores

ALPHA = 0.05  # one-sided, of each comparison
FEWEST = 8  # items of a benchmark before a candidate may be stopped


def clearly_worse(scores_of: Mapping[int, ItemScores], better: int, weights: Mapping[str, float]) -> set[int]:
    """Candidates that are worse than the ``better``-th best by more than chance.

    Args:
        scores_of: candidate -> its item scores; all of the same items.
        better: how many candidates make up the better half.
        weights: benchmark -> its weight.

    Returns:
        Numbers of the candidates to stop; none of the better half.
    """
    if len(scores_of) <= better:
        return set()
    means = {
        number: sum(weights[name] * np.mean(scores[name]) for name in weights) for number, scores in scores_of.items()
    }
    order = sorted(scores_of, key=lambda number: (-means[number], number))
    edge = scores_of[order[better - 1]]
    return {number for number in order[better:] if _worse(scores_of[number], edge, weights)}


def _worse(scores: ItemScores, edge: ItemScores, weights: Mapping[str, float]) -> bool:
    mean = variance = 0.0
    fewest = math.inf
    for name, weight in weights.items():
        difference = np.asarray(scores[name]) - np.asarray(edge[name])  # (items,)
        if len(difference) < FEWEST:
            return False
        fewest = min(fewest, len(difference))
        mean += weight * float(difference.mean())
        variance += weight**2 * float(difference.var(ddof=1)) / len(difference)
    return mean + float(stdtrit(fewest - 1, 1 - ALPHA)) * math.sqrt(variance) < 0
