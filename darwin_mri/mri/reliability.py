"""How far a channel can be trusted: bootstrap over probe documents, reliability, and a permutation null."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from darwin_mri import seeds
from darwin_mri.records import Channel, Estimate

MIN_DOCUMENTS = 4  # below this no interval is given
ALPHA = 0.05


def bootstrap_weights(documents: int, resamples: int, seed: int, name: str) -> np.ndarray:
    """Multinomial resampling weights: how often each document is drawn.

    Args:
        documents: number of documents, drawn with replacement.
        resamples: number of resamples.
        seed: of the draws.
        name: of what is resampled: other names give independent draws.

    Returns:
        (resamples, documents); every row adds up to ``documents``.
    """
    rng = seeds.named(seed, "bootstrap", name)
    return rng.multinomial(documents, np.full(documents, 1 / documents), size=resamples).astype(float)


def estimates(values: np.ndarray, resampled: np.ndarray) -> list[Estimate]:
    """Percentile intervals per layer.

    Args:
        values: (layers,) on all documents.
        resampled: (resamples, layers).

    Returns:
        One estimate per layer with its 95 % interval, which holds the value.
    """
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    return [
        Estimate(value=float(v), low=float(min(a, v)), high=float(max(b, v)))
        for v, a, b in zip(values, low, high, strict=True)
    ]


def reliability(values: np.ndarray, resampled: np.ndarray) -> float:
    """1 - (mean bootstrap variance) / (variance over layers), clipped to [0, 1]; 0 when layers do not differ."""
    between = float(np.var(values))
    if between <= 1e-30:
        return 0.0
    return float(np.clip(1 - np.mean(np.var(resampled, axis=0)) / between, 0.0, 1.0))


def permutation_p(
    table: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    name: str,
    permutations: int = 200,
    seed: int = 0,
) -> float:
    """p-value of the differences between layers: layer labels are shuffled, independently within each document.

    Args:
        table: (layers, documents) per-document values; the null says a document does not know its layer.
        statistic: maps such a table to (layers,) values.
        name: of the channel: other names give independent shuffles.
        permutations: number of shuffles.
        seed: of the shuffles.

    Returns:
        Share of shuffles, the observed order among them, whose variance over layers reaches the observed one.
    """
    rng = seeds.named(seed, "permutation", name)
    observed = np.var(statistic(table))
    reached = 0
    for _ in range(permutations):
        order = rng.random(table.shape).argsort(axis=0)
        reached += np.var(statistic(np.take_along_axis(table, order, axis=0))) >= observed
    return (reached + 1) / (permutations + 1)


def channel(values: np.ndarray, resampled: np.ndarray, p_value: float, documents: int) -> Channel:
    """The channel's verdict; informative needs documents enough, p at most 0.05 and a reliability above 0.5.

    Args:
        values: (layers,) on all documents.
        resampled: (resamples, layers).
        p_value: of the permutation null.
        documents: how many there are.

    Returns:
        Reliability and p, and in words why there is no signal where that is so.
    """
    return verdict(reliability(values, resampled), p_value, documents)


def verdict(trust: float, p_value: float, documents: int) -> Channel:
    """The same, of a reliability that is known.

    Args:
        trust: the reliability.
        p_value: of the permutation null.
        documents: how many there are.

    Returns:
        As ``channel``.
    """
    if documents < MIN_DOCUMENTS:
        return Channel(
            reliability=0.0, p_value=1.0, informative=False, note=f"too few documents for an interval ({documents})"
        )
    informative = p_value <= ALPHA and trust > 0.5
    note = "" if informative else f"no signal: reliability {trust:.2f}, permutation p {p_value:.3f}"
    return Channel(reliability=trust, p_value=p_value, informative=informative, note=note)
