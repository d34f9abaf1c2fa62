"""Paired comparison of two models on the same items: intervals, cluster bootstrap, sign flips, McNemar, Holm.

Everything works on per-cluster totals. A composite is the weighted sum of benchmark means, each benchmark with its own
clusters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darwin_mri.stats import StatsError
from darwin_mri.stats.distributions import binomial_p_value, normal_probability, student_quantile
from darwin_mri.stats.intervals import Interval, clustered_degrees, clustered_error, detectable_difference

RESAMPLES = 9_999
_CHUNK = 2_000_000  # random numbers drawn at a time: bounds memory to some 20 MB whatever the benchmark's size
_TIE = 1e-9  # credits are sums of thirds and quarters: equal statistics may differ in the last bits

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterTotals:
    """Per-cluster totals of one quantity over items.

    Attributes:
        sums: total of each of C clusters, (C,) or (C, models).
        sizes: number of items of each cluster, (C,).
    """

    sums: Floats
    sizes: Floats

    @classmethod
    def of(cls, values: ArrayLike, clusters: Sequence[str]) -> ClusterTotals:
        """Total ``values`` (items,) or (items, models) within each cluster, in order of first appearance."""
        table = np.asarray(values, dtype=np.float64)
        if len(table) != len(clusters) or not len(clusters):
            raise StatsError(f"{len(table)} values for {len(clusters)} cluster names: give one cluster per item")
        numbers: dict[str, int] = {}
        index = np.array([numbers.setdefault(name, len(numbers)) for name in clusters])  # (items,)
        sums = np.zeros((len(numbers), *table.shape[1:]))
        np.add.at(sums, index, table)
        return cls(sums, np.bincount(index).astype(np.float64))

    @property
    def n(self) -> int:
        """Number of items."""
        return int(self.sizes.sum())

    @property
    def means(self) -> Floats:
        """Mean over items, () or (models,)."""
        return self.sums.sum(axis=0) / self.sizes.sum()

    def detectable(self, *, share: bool) -> float:
        """Smallest difference that could have been seen, for totals of paired differences (C,), of fractions or not."""
        return detectable_difference(float((self.sums**2).sum()) / self.n, self.n, share=share)


def bootstrap_means(totals: ClusterTotals, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Means over items in resamples of whole clusters.

    All models share each resample, so the difference of two columns is the paired bootstrap of their difference.

    Args:
        totals: of C clusters, (C,) or (C, models).
        rng: draws the clusters.
        resamples: how many.

    Returns:
        The means, (resamples,) or (resamples, models).
    """
    clusters = len(totals.sizes)
    rows = max(1, _CHUNK // clusters)
    chunks: list[Floats] = []
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        # Each row draws C clusters; its numbers are shifted by C, so that one bincount counts all rows: (count, C).
        drawn = rng.integers(0, clusters, size=(count, clusters)) + np.arange(count)[:, None] * clusters
        times = np.bincount(drawn.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.float64)
        items = times @ totals.sizes  # (count,)
        sums = times @ totals.sums  # (count,) or (count, models)
        chunks.append(sums / (items if sums.ndim == 1 else items[:, None]))
    return np.concatenate(chunks)


def percentile_interval(
    samples: Floats, estimate: float, confidence: float = 0.95, *, clusters: int | None = None
) -> Interval:
    """Percentile bootstrap interval, widened where needed to hold ``estimate`` (a handful of clusters may miss it).

    With C clusters the tails are Phi(-sqrt(C / (C - 1)) t), t Student's quantile with C - 1 degrees of freedom, in
    place of the nominal ones: the expanded percentile interval of Hesterberg (2015, arXiv 1411.5279, section 3.3),
    since plain percentiles of few clusters are too narrow. One cluster gives no spread to judge by.

    Args:
        samples: the bootstrap's estimates, (resamples,).
        estimate: from the data themselves.
        confidence: of the interval.
        clusters: C; None for plain percentiles.

    Returns:
        The bounds.
    """
    tail = (1 - confidence) / 2
    if clusters is not None and clusters > 1:
        tail = normal_probability(math.sqrt(clusters / (clusters - 1)) * student_quantile(clusters - 1, tail))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return min(float(low), estimate), max(float(high), estimate)


def difference_interval(parts: Sequence[tuple[ClusterTotals, float]], confidence: float = 0.95) -> Interval:
    """Interval of a weighted sum of mean differences: Student's t on the clustered errors.

    The variances add up, and so do their degrees of freedom after Satterthwaite (1946): a benchmark of few clusters
    widens the interval by as much as it adds to the variance.

    Args:
        parts: (differences (C,), weight) of each benchmark; one that has one cluster adds nothing.
        confidence: of the interval.

    Returns:
        The bounds; without width where no benchmark has two clusters that differ.
    """
    difference = float(effects(parts).sum())
    known = [(totals, weight) for totals, weight in parts if len(totals.sizes) > 1]
    variances = [(weight * clustered_error(totals.sums, totals.sizes)) ** 2 for totals, weight in known]
    variance = sum(variances)
    if variance < 1e-24:
        return difference, difference
    spent = sum(own**2 / clustered_degrees(totals.sizes) for own, (totals, _) in zip(variances, known, strict=True))
    half = student_quantile(variance**2 / spent, 0.5 + confidence / 2) * math.sqrt(variance)
    return difference - half, difference + half


def effects(parts: Sequence[tuple[ClusterTotals, float]]) -> Floats:
    """What each cluster adds to the weighted sum of mean differences, (all clusters,); the sum is the difference."""
    return np.concatenate([weight * totals.sums / totals.n for totals, weight in parts])


def sign_flip_p_value(
    cluster_effects: Floats,
    rng: np.random.Generator,
    alternative: Literal["two-sided", "greater"] = "two-sided",
    resamples: int = RESAMPLES,
) -> float:
    """P-value of "no difference" when either model could have given each cluster's answers.

    Signs of whole clusters are flipped at random; p = (1 + flips at least as extreme) / (1 + flips), which is valid at
    any number of flips (Phipson and Smyth 2010).

    Args:
        cluster_effects: as from ``effects``, (clusters,).
        rng: draws the signs.
        alternative: two-sided, or greater: the first model is better.
        resamples: number of flips.

    Returns:
        The p-value, in (0, 1].
    """
    observed = float(cluster_effects.sum())
    moving = cluster_effects[cluster_effects != 0]
    if not len(moving):
        return 1.0
    rows = max(1, _CHUNK // len(moving))
    extreme = 0
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        signs = rng.integers(0, 2, size=(count, len(moving)), dtype=np.int8) * 2.0 - 1.0  # (count, moving clusters)
        flipped = signs @ moving  # (count,)
        if alternative == "two-sided":
            extreme += int((np.abs(flipped) >= abs(observed) - _TIE).sum())
        else:
            extreme += int((flipped >= observed - _TIE).sum())
    return (1 + extreme) / (1 + resamples)


def mcnemar_exact(wins: int, losses: int) -> float:
    """Exact two-sided McNemar p-value from discordant counts; 1 when there are none. Ignores clusters."""
    return binomial_p_value(min(wins, losses), wins + losses) if wins + losses else 1.0


def holm(p_values: Iterable[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    raw = list(p_values)
    adjusted = [0.0] * len(raw)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(raw)), key=raw.__getitem__)):
        running = max(running, min(1.0, raw[index] * (len(raw) - rank)))
        adjusted[index] = running
    return adjusted


def composite_detectable(parts: Sequence[tuple[ClusterTotals, float]], shares: Sequence[bool]) -> float:
    """Smallest difference of the weighted sum that could have been seen: the benchmarks' variances add up.

    Args:
        parts: (differences, weight) of each benchmark.
        shares: whether each one's scores are fractions.

    Returns:
        The difference, at most 1 where all are fractions.
    """
    variances = [
        (weight * totals.detectable(share=share)) ** 2 for (totals, weight), share in zip(parts, shares, strict=True)
    ]
    return min(1.0 if all(shares) else math.inf, math.sqrt(sum(variances)))
