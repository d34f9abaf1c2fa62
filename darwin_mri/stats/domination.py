"""Which of several candidates are not dominated, which of these to keep, and which one to take. Higher is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIE = 1e-12  # distances that differ by less are equal


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which points no other one dominates: is nowhere worse and somewhere better.

    Args:
        points: scores, (candidates, objectives).

    Returns:
        (candidates,) of bool.
    """
    no_worse = (points[:, None] >= points[None]).all(axis=2)  # (candidates, candidates)
    better = (points[:, None] > points[None]).any(axis=2)
    return np.logical_not((no_worse & better).any(axis=0))


def crowding(points: np.ndarray) -> np.ndarray:
    """The crowding distance of NSGA-II (Deb et al. 2002): how far apart the neighbours of each point are.

    Args:
        points: scores of one front, (candidates, objectives).

    Returns:
        (candidates,): the sum over the objectives of the gap between both neighbours, as a share of the objective's
        range; infinite for the ends.
    """
    distance = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        spread = values[order[-1]] - values[order[0]]
        distance[order[[0, -1]]] = np.inf
        if spread > 0:
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / spread
    return distance


def thin(points: np.ndarray, size: int) -> list[int]:
    """The members of a front that stay: the most crowded one is dropped until ``size`` are left.

    Args:
        points: scores of the front, (candidates, objectives); the earlier candidate of two equal ones stays.
        size: most members.

    Returns:
        Their indices, in order.
    """
    _, first = np.unique(points, axis=0, return_index=True)
    kept = sorted(map(int, first))
    while len(kept) > size:
        distance = crowding(points[kept])
        kept.pop(len(kept) - 1 - int(np.argmin(distance[::-1])))  # of equally crowded ones the latest
    return kept


def knee(points: np.ndarray) -> np.ndarray:
    """How far each point lies beyond the hyperplane through the best points of every objective; the knee is farthest.

    The rule of Das 1999, "On characterizing the 'knee' of the Pareto curve", after every objective is scaled to [0, 1].
    Where these points span no hyperplane that faces the ideal point, the sum of the scaled objectives is used, which
    is the same thing for two objectives.

    Args:
        points: scores, (candidates, objectives).

    Returns:
        (candidates,), larger is better.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.where(high > low, high - low, 1.0)  # (candidates, objectives)
    ends = scaled[scaled.argmax(axis=0)]  # (objectives, objectives)
    normal = np.ones(len(ends))
    if np.linalg.matrix_rank(ends) == len(ends):
        solved = np.asarray(np.linalg.solve(ends, normal), dtype=np.float64)  # (objectives,)
        normal = solved if float(solved.min()) > TIE else normal
    return scaled @ normal / float(np.linalg.norm(normal))


def choose(points: np.ndarray, weights: Sequence[float], *, by_knee: bool) -> int:
    """The member of a front that becomes the child, among those that no other one dominates.

    Args:
        points: scores, (candidates, objectives).
        weights: of the objectives.
        by_knee: by the knee rule, the weighted sum then only settles ties; else by the weighted sum.

    Returns:
        Its index; of equal ones the first.
    """
    among = np.flatnonzero(non_dominated(points))
    weighted = points @ np.asarray(weights)
    if by_knee:
        distance = knee(points[among])
        among = among[distance >= distance.max() - TIE]
    return int(among[np.argmax(weighted[among])])
