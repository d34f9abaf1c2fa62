"""From the scores of the items asked so far to a fitness: their weighted mean, or what anchors tell of the whole pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darwin_mri.breeding.anchors import Anchors
from darwin_mri.breeding.workers import ItemScores


def block_slices(items: int, blocks: int) -> list[slice]:
    """The items of each block, in the order asked; block sizes differ by one at most."""
    edges = np.linspace(0, items, blocks + 1).round().astype(int)
    return [slice(int(low), int(high)) for low, high in zip(edges[:-1], edges[1:], strict=True)]


@dataclass(frozen=True)
class Means:
    """Every benchmark's mean over the items asked; ``weights`` sum to 1."""

    blocks: int
    weights: dict[str, float]

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        scores = {name: float(np.mean(seen[name])) for name in self.weights}
        return sum(self.weights[name] * score for name, score in scores.items()), scores


@dataclass(frozen=True)
class Anchored:
    """Every benchmark's estimate of the mean over its pool."""

    blocks: int
    weights: dict[str, float]
    anchors: Mapping[str, Anchors]

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        scores = {name: min(1.0, max(0.0, self.anchors[name].estimate(seen[name]))) for name in self.weights}
        return sum(self.weights[name] * score for name, score in scores.items()), scores
