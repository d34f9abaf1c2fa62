"""Simulated answers of parents, children and null children whose true scores are known, for ``null_runs``.

Items come in clusters that share a difficulty, and every item has a difficulty of its own: all models face both. Each
model also has its own ups and downs by cluster. Answers are therefore correlated within clusters and between models. A
model's true score is its mean over items never seen; where answers are right or wrong it is known to 1e-6, by
Gauss-Hermite quadrature over the difficulties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from darwin_mri.records import Answer

NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()
# Cluster sizes of GPQA diamond, of MuSR's murder mysteries, of a fifth of CLIcK; then of small and uneven benchmarks.
GPQA = (1,) * 198
MUSR = (2,) * 105 + (4,) * 10
CLICK = (1,) * 340 + (2,) * 9 + (3,) * 4 + (4,) * 2 + (6,)
STORIES = (4,) * 30
CHAPTERS = (10,) * 12
BOOKS = (20,) * 6
PARTS = (60,) * 6
UNEVEN = (60, 30) + (10,) * 3 + (2,) * 25
TEXTS = (1,) * 50
FEW_TEXTS = (1,) * 12

Noise = Literal["even", "rare losses", "rare gains", "breakdowns"]


@dataclass(frozen=True)
class Bench:
    """How one benchmark's items hang together.

    Attributes:
        name: of the benchmark.
        sizes: number of items of each cluster.
        chance: accuracy of guessing; None where scores are not fractions but minus NLL per byte.
        cluster: standard deviation of the difficulty that a cluster's items share, in logits.
        model: standard deviation of each model's own ups and downs by cluster, in logits.
        item: standard deviation of an item's own difficulty, in logits.
        noise: how the child's NLL differs from its mean: as often up as down, by rare large losses or gains, or by a
            breakdown on one text in ten.
    """

    name: str
    sizes: tuple[int, ...]
    chance: float | None = 0.25
    cluster: float = 1.0
    model: float = 0.5
    item: float = 1.0
    noise: Noise = "even"

    @property
    def unit(self) -> str:
        """Of the scores; empty for fractions."""
        return "nats/byte" if self.chance is None else ""


@lru_cache(maxsize=4096)
def ability(accuracy: float, chance: float, spread: float) -> float:
    """The logit at which the mean accuracy over all clusters and items is ``accuracy``.

    Args:
        accuracy: the true score.
        chance: accuracy of guessing.
        spread: standard deviation of all difficulties together, in logits.

    Returns:
        The logit.
    """

    def excess(level: float) -> float:
        return float((chance + (1 - chance) * expit(level + spread * NODES)) @ NODE_WEIGHTS) - accuracy

    level: Any = brentq(excess, -40, 40)
    return float(level)


def draw_scores(
    rng: np.random.Generator, bench: Bench, truths: Mapping[str, float], copied: float = 0.0
) -> dict[str, np.ndarray]:
    """What models of these true scores reach on one draw of the benchmark's items.

    Args:
        rng: draws difficulties and answers.
        bench: the benchmark.
        truths: true score of each model; keys of children begin with ``child``.
        copied: share of items on which a child answers as the father does, as one of much the same weights would.

    Returns:
        (items,) scores of each model.
    """
    clusters = np.repeat(np.arange(len(bench.sizes)), bench.sizes)  # (items,)
    shared = rng.normal(0, bench.cluster, len(bench.sizes))[clusters] + rng.normal(0, bench.item, len(clusters))
    scores: dict[str, np.ndarray] = {}
    for key, truth in truths.items():
        own = rng.normal(0, bench.model, len(bench.sizes))[clusters]
        if bench.chance is None:
            noise = _noise(rng, bench, len(clusters), child=key.startswith("child"))
            scores[key] = truth + 0.15 * shared + 0.05 * own + noise
            continue
        spread = float(np.sqrt(bench.cluster**2 + bench.model**2 + bench.item**2))
        logits = ability(round(truth, 6), bench.chance, spread) + shared + own
        right = rng.random(len(clusters)) < bench.chance + (1 - bench.chance) * expit(logits)
        scores[key] = right.astype(float)
    if copied:
        for key in (key for key in truths if key.startswith("child")):
            scores[key] = np.where(rng.random(len(clusters)) < copied, scores["father"], scores[key])
    return scores


def _noise(rng: np.random.Generator, bench: Bench, items: int, *, child: bool) -> np.ndarray:
    """(items,) nats per byte around a mean of 0."""
    if bench.noise == "even" or not child:
        return rng.normal(0, 0.03, items)
    if bench.noise == "breakdowns":
        return 0.03 - 0.3 * (rng.random(items) < 0.1)
    losses = 0.03 - rng.exponential(0.03, items)  # skewness -2
    return losses if bench.noise == "rare losses" else -losses


def as_answers(bench: Bench, scores: np.ndarray) -> list[Answer]:
    """One model's scores as the answers that a run keeps; every third cluster is of another slice."""
    if bench.chance is None:
        return _answers(bench, scores.tolist())
    wrong, right = _both(bench)
    return [right[row] if score else wrong[row] for row, score in enumerate(scores.tolist())]


@lru_cache(maxsize=64)
def _both(bench: Bench) -> tuple[list[Answer], list[Answer]]:
    """Every item answered wrong, and every item answered right: to make each answer anew takes half the time."""
    items = sum(bench.sizes)
    return _answers(bench, [0.0] * items), _answers(bench, [1.0] * items)


def _answers(bench: Bench, scores: list[float]) -> list[Answer]:
    clusters = np.repeat(np.arange(len(bench.sizes)), bench.sizes).tolist()
    return [
        Answer.model_construct(
            key=str(row),
            cluster=str(cluster),
            slice=f"s{cluster % 3}",
            gold=-1 if bench.chance is None else 0,
            choice=-1 if bench.chance is None else int(score != 1),
            credit=score,
            log_probabilities=(),
            protocol="",
            choices=0 if bench.chance is None else 4,
            metrics={},
            votes=(),
            finish_reasons=(),
        )
        for row, (cluster, score) in enumerate(zip(clusters, scores, strict=True))
    ]
