"""Anchors: few items that stand for many, and the estimate of the full score from them.

Some models' scores on every item of the pool are logged (the mother, and the search's opening: the prior's mean, a step
back from it, the father). Items on which these models agree say nothing about a candidate; items that rise and fall
together say the same. So the items are clustered by their logged scores (k-means, as tinyBenchmarks does with its item
parameters, arXiv 2402.14992), the one nearest each centre is an anchor and stands for its cluster's share w of the
pool.

A candidate is scored on the anchors only. Its score x on item i is predicted from the logged scores f_i by ridge
regression over the anchors, and its full score is the generalised regression estimate (Särndal, Swensson and Wretman
1992, section 6.4)

    mean_i f_i b + sum_k w_k (x_k - f_k b):

the regression carries what the logged models' scores tell of the items that are not anchors, and the second term
corrects it by the scores on the anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2

from darwin_mri import seeds

RIDGE = 0.1  # of the regression, in units of the features' variance


@dataclass(frozen=True)
class Anchors:
    """The anchors of one benchmark.

    Attributes:
        items: indices into the pool, in the order candidates are scored on them.
        weights: of each anchor, sum 1: the share of the pool it stands for.
        logged: scores of the logged models on every item, (models, pool).
    """

    items: tuple[int, ...]
    weights: tuple[float, ...]
    logged: np.ndarray

    def estimate(self, seen: Sequence[float]) -> float:
        """The full score, estimated from the scores on the first ``len(seen)`` anchors."""
        count = len(seen)
        x, weights = np.asarray(seen, dtype=float), np.array(self.weights[:count])  # (count,) each
        weights = weights / weights.sum()
        centre = self.logged.mean(1)  # (models,)
        features = (self.logged - centre[:, None]).T  # (pool, models): 0 is the average item
        anchors = features[list(self.items[:count])]  # (count, models)
        scaled = anchors * weights[:, None]  # (count, models)
        gram = anchors.T @ scaled  # (models, models)
        ridge = RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
        slope = np.linalg.solve(gram + ridge * np.eye(len(gram)), scaled.T @ (x - weights @ x))  # (models,): b
        # The pool's mean prediction is the intercept, as features are centred over the pool.
        estimate = float(weights @ x - (weights @ anchors) @ slope)
        share = self.logged.min() >= 0.0 and self.logged.max() <= 1.0  # such as a probability: so is the estimate
        return min(1.0, max(0.0, estimate)) if share else estimate


def choose_anchors(logged: np.ndarray, count: int, seed: int) -> Anchors:
    """Anchors of one benchmark.

    Args:
        logged: scores of some models on every item, (models, pool).
        count: most anchors; all items when the pool is no larger. Equal items share one.
        seed: of the clustering and of the anchors' order.

    Returns:
        The anchors, in an order of which any first part is a fair sample.
    """
    pool = logged.shape[1]
    if count >= pool:
        return Anchors(tuple(range(pool)), (1 / pool,) * pool, logged)
    rng = seeds.named(seed, "anchors")
    points = logged.T  # (pool, models)
    # (anchors, models) and (pool,)
    centres, owner = (
        kmeans2(points, count, minit="++", rng=rng, missing="warn")
        if _spread(points)
        else (points[:1], np.zeros(pool, int))
    )
    chosen, weights = [], []
    for cluster in np.unique(owner):
        members = np.flatnonzero(owner == cluster)
        nearest = members[np.argmin(((points[members] - centres[cluster]) ** 2).sum(1))]
        chosen.append(int(nearest))
        weights.append(len(members) / pool)
    order = rng.permutation(len(chosen))
    return Anchors(tuple(chosen[i] for i in order), tuple(weights[i] for i in order), logged)


def _spread(points: np.ndarray) -> bool:
    return bool(np.ptp(points, axis=0).any())
