"""How far to follow a descent: as far as items that it did not see agree (preset ``cross-fitted``).

A descent over many genes and few items fits those items. Here the blocks of items are dealt into two halves. Each half
has its own descent from the same uniform child, and the other half says how far along it its own loss is lowest. The
mean of both descents is noisier than its signal by half of one descent's noise, so the share that is right for one, s,
becomes 2 s / (1 + s) for the mean (Spearman-Brown, doi:10.1111/j.2044-8295.1910.tb00206.x). Without agreement the
share is 0 and the child is the best uniform one.

The uniform ratio comes first: the same bounded descent, with one ratio for all genes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.mri.descent import Descent, descend

POINTS = 101  # of a line at which its cubic is compared
ReadSlopes = Callable[[np.ndarray, Sequence[int]], tuple[np.ndarray, np.ndarray]]
"""Ratios (genes,) and blocks -> (slopes (blocks, genes), losses (blocks,))."""


@dataclass(frozen=True)
class CrossFit:
    """Where both halves lead.

    Attributes:
        uniform: the one ratio for all genes with the lowest loss.
        ratios: (genes,) mean of both halves' descents, before it is shrunk.
        share: in [0, 1], how far from ``uniform`` toward ``ratios`` unseen items let one go.
        losses: at ``uniform``: mean of both halves' descents, seen items at the end, unseen items at the end.
    """

    uniform: float
    ratios: np.ndarray
    share: float
    losses: tuple[float, float, float]

    @property
    def mean(self) -> np.ndarray:
        """(genes,) shrunk toward the uniform ratio."""
        return self.uniform + self.share * (self.ratios - self.uniform)


def cross_fit(
    read_slopes: ReadSlopes, blocks: int, known: Sequence[float], free: Sequence[bool], *, upper: float, steps: int
) -> CrossFit:
    """Descend on each half of the blocks, and ask the other half how far to go.

    Args:
        read_slopes: of the fitness loss.
        blocks: how many there are, two or more.
        known: uniform ratios that have been measured; the best one is where the uniform descent starts.
        free: of each gene, whether it may move; the others stay at 0.
        upper: largest ratio; the smallest is 0.
        steps: of each descent, at most.

    Returns:
        The uniform ratio, the descents' mean, and the share.
    """
    moving, every = np.array(free, dtype=float), range(blocks)
    uniform = _best_uniform(read_slopes, every, known, moving, upper=upper, steps=steps)
    slopes, losses = read_slopes(uniform * moving, every)
    halves = [list(every[::2]), list(every[1::2])]
    ends, lines, seen, unseen = [], np.zeros(POINTS), [], []
    for own, other in (halves, halves[::-1]):
        descent = _descend(read_slopes, own, uniform, (slopes[own], losses[own]), free, upper=upper, steps=steps)
        end_slopes, end_losses = read_slopes(descent.ratios, other)
        move = descent.ratios - uniform * moving
        lines += _cubic(
            (float(losses[other].mean()), float(slopes[other].mean(0) @ move)),
            (float(end_losses.mean()), float(end_slopes.mean(0) @ move)),
        )
        ends.append(descent.ratios)
        seen.append(descent.losses[-1])
        unseen.append(float(end_losses.mean()))
    share = float(np.argmin(lines)) / (POINTS - 1)
    figures = float(losses.mean()), float(np.mean(seen)), float(np.mean(unseen))
    return CrossFit(uniform, np.mean(ends, 0), 2 * share / (1 + share), figures)


def _best_uniform(
    read_slopes: ReadSlopes,
    every: Sequence[int],
    known: Sequence[float],
    moving: np.ndarray,
    *,
    upper: float,
    steps: int,
) -> float:
    tried: dict[float, tuple[float, np.ndarray]] = {}

    def along(ratio: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, losses = read_slopes(float(ratio[0]) * moving, every)
        tried[float(ratio[0])] = value = float(losses.mean()), np.array([slopes.mean(0) @ moving])
        return value

    for ratio in known:
        along(np.array([ratio]))
    start = min(tried, key=lambda ratio: tried[ratio][0])
    descend(along, np.array([start]), tried[start], [True], upper=upper, steps=steps)
    return min(tried, key=lambda ratio: tried[ratio][0])


def _descend(
    read_slopes: ReadSlopes,
    blocks: Sequence[int],
    uniform: float,
    first: tuple[np.ndarray, np.ndarray],
    free: Sequence[bool],
    *,
    upper: float,
    steps: int,
) -> Descent:
    def loss_and_slopes(ratios: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, losses = read_slopes(ratios, blocks)
        return float(losses.mean()), slopes.mean(0)

    slopes, losses = first
    start = np.full(len(free), uniform)
    return descend(loss_and_slopes, start, (float(losses.mean()), slopes.mean(0)), free, upper=upper, steps=steps)


def _cubic(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """(POINTS,) the cubic on [0, 1] with these values and slopes at its ends."""
    at = np.linspace(0, 1, POINTS)
    rest = 1 - at
    return (
        (1 + 2 * at) * rest**2 * start[0]
        + at * rest**2 * start[1]
        + at**2 * (3 - 2 * at) * end[0]
        - at**2 * rest * end[1]
    )
