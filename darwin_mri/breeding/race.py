"""Racing: a candidate that cannot reach the better half any more is not asked the remaining items.

After each block of items every candidate still running is compared with the one in the middle of the better half's edge, item by
item (all were asked the same items). With d the item differences, a candidate is stopped when

    mean(d) + t(1 - alpha, n - 1) sd(d) / sqrt(n) < 0,

the one-sided paired t bound of F-Race's family (Birattari et al. 2002; paired t as in t-Race, Maron and Moore 1997 for the idea).
Several benchmarks are weighted: means and variances of the means add up with their weights. Nothing is known of items that were
not asked, so a stopped candidate keeps the estimate of what it was asked; its rank in the worse half is all that CMA-ES uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy.stats import t as student

from darwin_mri.breeding.workers import ItemScores

ALPHA = 0.05  # one-sided, of each comparison
FEWEST = 8  # items of a benchmark before anything is said


def hopeless(asked: Mapping[int, ItemScores], better: int, weights: Mapping[str, float]) -> set[int]:
    """Candidates that are worse than the ``better``-th best by more than chance.

    Args:
        asked: candidate -> its item scores; all of the same items.
        better: how many make up the better half.
        weights: of the benchmarks.
    """
    if len(asked) <= better:
        return set()
    means = {number: sum(weights[name] * np.mean(scores[name]) for name in weights) for number, scores in asked.items()}
    order = sorted(asked, key=lambda number: (-means[number], number))
    edge = asked[order[better - 1]]
    return {number for number in order[better:] if _worse(asked[number], edge, weights)}


def _worse(scores: ItemScores, edge: ItemScores, weights: Mapping[str, float]) -> bool:
    mean = variance = 0.0
    fewest = math.inf
    for name, weight in weights.items():
        difference = np.asarray(scores[name]) - np.asarray(edge[name])
        if len(difference) < FEWEST:
            return False
        fewest = min(fewest, len(difference))
        mean += weight * float(difference.mean())
        variance += weight**2 * float(difference.var(ddof=1)) / len(difference)
    return mean + float(student.ppf(1 - ALPHA, fewest - 1)) * math.sqrt(variance) < 0
