"""Uncertainty of one score, and what a paired comparison could have seen."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from darwin_mri.stats import StatsError
from darwin_mri.stats.distributions import normal_quantile, student_quantile

Interval = tuple[float, float]


def wilson(correct: float, n: float, confidence: float = 0.95, degrees: float | None = None) -> Interval:
    """Score interval of a proportion of independent items (Wilson 1927, without continuity correction).

    Args:
        correct: sum of credits; may be fractional (a tie of k choices counts 1/k).
        n: number of items; may be fractional, as the effective number of items in clusters is.
        confidence: of the interval.
        degrees: of freedom of Student's t, whose quantile takes the place of the normal one where they are given.

    Returns:
        The bounds as fractions; they always hold ``correct / n``.

    Raises:
        StatsError: unless 0 <= correct <= n and n > 0.
    """
    if n <= 0 or not -1e-9 <= correct <= n + 1e-9:
        raise StatsError(
            f"no interval for {correct:g} correct of {n} items: give 0 <= correct <= n and at least one item"
        )
    share = min(max(correct / n, 0.0), 1.0)
    tail = 0.5 + confidence / 2
    z = normal_quantile(tail) if degrees is None else student_quantile(degrees, tail)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def clustered_error(sums: ArrayLike, sizes: ArrayLike) -> float:
    """Cluster-robust standard error of a mean over items.

    With N items in C clusters, s_c and n_c the total and number of items of a cluster, and mean m the error is

        sqrt(sum_c (s_c - n_c m)^2 / (1 - n_c / N)) / N,

    the bias-reduced one of Bell and McCaffrey (2002, Survey Methodology 28:169), "CR2". A large cluster pulls the mean
    to itself, which 1 - n_c / N makes up for. With clusters of one size it is that of Liang and Zeger (1986) with the
    factor C / (C - 1) (Miller 2024, arXiv 2411.00640).

    Args:
        sums: total of each cluster, (C,).
        sizes: number of items of each cluster, (C,).

    Raises:
        StatsError: there are fewer than two clusters.
    """
    totals, counts = _clusters(sums, sizes)
    if len(totals) < 2:
        raise StatsError("a clustered error needs at least two clusters: score more items, or report no interval")
    items = float(counts.sum())
    residuals = totals - counts * totals.sum() / items  # (C,)
    return math.sqrt(float((residuals**2 / (1 - counts / items)).sum())) / items


def clustered_degrees(sizes: ArrayLike) -> float:
    """Degrees of freedom of ``clustered_error``: C - 1 for clusters of one size, fewer the more their sizes differ.

    Those of Bell and McCaffrey (2002): the chi-squared variable with the mean and variance that the squared error has
    where items are independent and alike (Satterthwaite 1946). Of 30 clusters that hold 60, 30, three times 10 and 25
    times 2 items it is 5, since the mean rests on few of them (Imbens and Kolesar 2016, Rev. Econ. Stat. 98:701).

    Args:
        sizes: number of items of each of at least two clusters, (C,).
    """
    counts = np.asarray(sizes, dtype=np.float64)
    items = float(counts.sum())
    pulls = counts**2 / (1 - counts / items)  # (C,)
    crossed = float(pulls.sum() ** 2 - (pulls**2).sum()) / items**2
    return items**2 / (float((counts**2).sum()) + crossed)


def clustered_interval(sums: ArrayLike, sizes: ArrayLike, confidence: float = 0.95, *, share: bool = True) -> Interval:
    """Interval of a mean over clustered items: Student's t, or for a fraction Wilson's over the effective items.

    A fraction p with clustered error e is worth p (1 - p) / e^2 independent items. Wilson's interval of so many, with
    Student's quantile, holds the truth near 0 and 1 too, where t's does not (Kott and Carr 1997, J. Official Stat.
    13:139; compared with others by Dean and Pagano 2015, J. Surv. Stat. Methodol. 3:484).

    One cluster, or clusters that all agree (every item right, or one of each pair), leave no spread to estimate from;
    an interval without width would be a false claim, so of a fraction Wilson's over C clusters is given then. Of other
    means one cluster gives no bound at all.

    Args:
        sums: total of each cluster, (C,).
        sizes: number of items of each cluster, (C,).
        confidence: of the interval.
        share: whether the mean is a fraction.

    Returns:
        The bounds.
    """
    totals, counts = _clusters(sums, sizes)
    clusters = len(totals)
    mean = float(totals.sum() / counts.sum())
    error = clustered_error(totals, counts) if clusters > 1 else 0.0
    if clusters < 2 and not share:
        return -math.inf, math.inf
    if error < 1e-12 and share:
        return wilson(mean * clusters, clusters, confidence)
    degrees = clustered_degrees(counts)
    if share:
        effective = mean * (1 - mean) / error**2
        return wilson(mean * effective, effective, confidence, degrees)
    half = student_quantile(degrees, 0.5 + confidence / 2) * error
    return mean - half, mean + half


def detectable_difference(
    discordance: float, n: int, power: float = 0.8, alpha: float = 0.05, *, share: bool = True
) -> float:
    """Smallest true difference a two-sided paired comparison would find with the given power.

    (z_(1 - alpha/2) + z_power) * sqrt(discordance / n), which is 2.8 sqrt(discordance / n) at the defaults. Of
    fractions, nothing discordant is taken as one item of n: a difference of zero cannot be told from one too small to
    see.

    Args:
        discordance: mean squared difference of credits per item: for right-or-wrong answers, the share of items on
            which the two models differ. With clusters: sum_c (sum of differences in c)^2 / n.
        n: number of items.
        power: probability of detecting a difference of that size.
        alpha: level of the two-sided test.
        share: whether the scores are fractions.

    Returns:
        The difference; of fractions at most 1.

    Raises:
        StatsError: there are no items, or the discordance is negative.
    """
    if n <= 0 or discordance < 0:
        raise StatsError(
            f"no detectable difference for discordance {discordance:g} on {n} items: score at least one item"
        )
    factor = normal_quantile(1 - alpha / 2) + normal_quantile(power)
    if not share:
        return factor * math.sqrt(discordance / n)
    return min(1.0, factor * math.sqrt(max(discordance, 1 / n) / n))


def _clusters(sums: ArrayLike, sizes: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    totals, counts = np.asarray(sums, dtype=np.float64), np.asarray(sizes, dtype=np.float64)  # (C,) each
    if totals.ndim != 1 or totals.shape != counts.shape or not len(totals) or (counts <= 0).any():
        raise StatsError("clusters need one sum and one positive size each, and at least one cluster")
    return totals, counts
