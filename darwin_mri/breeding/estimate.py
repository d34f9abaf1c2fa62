"""From the scores of the items so far to a fitness: their weighted mean, or the whole pool's estimated from anchors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from darwin_mri.breeding.anchors import Anchors
from darwin_mri.breeding.workers import ItemScores


class Estimate(Protocol):
    """Turns item scores into a fitness."""

    @property
    def blocks(self) -> int:
        """Number of blocks that the items are divided into."""
        ...

    @property
    def weights(self) -> dict[str, float]:
        """Task -> its weight; they sum to 1."""
        ...

    @property
    def limits(self) -> dict[str, float]:
        """Task -> the least score a candidate may have on it."""
        ...

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        """(fitness, score by task) from the scores of the blocks so far; tasks of limits have scores too."""
        ...


def block_slices(items: int, blocks: int) -> list[slice]:
    """The items of each block, in the order they are scored; block sizes differ by one at most."""
    edges = np.linspace(0, items, blocks + 1).round().astype(int)  # (blocks + 1,)
    return [slice(int(low), int(high)) for low, high in zip(edges[:-1], edges[1:], strict=True)]


@dataclass(frozen=True)
class Means:
    """The weighted sum of every benchmark's mean over the items so far.

    Attributes:
        blocks: number of blocks.
        weights: task -> its weight; they sum to 1.
        limits: task -> the least score a candidate may have on it.
    """

    blocks: int
    weights: dict[str, float]
    limits: dict[str, float] = field(default_factory=dict[str, float])

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        """As ``Estimate``."""
        scores = {name: float(np.mean(seen[name])) for name in (*self.weights, *self.limits)}
        return sum(weight * scores[name] for name, weight in self.weights.items()), scores


@dataclass(frozen=True)
class Anchored:
    """The weighted sum of every task's estimated mean over its pool.

    Attributes:
        blocks: number of blocks that the anchors are divided into.
        weights: task -> its weight; they sum to 1.
        anchors: task -> its anchors.
        limits: task -> the least score a candidate may have on it.
    """

    blocks: int
    weights: dict[str, float]
    anchors: Mapping[str, Anchors]
    limits: dict[str, float] = field(default_factory=dict[str, float])

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        """As ``Estimate``."""
        scores = {name: self.anchors[name].estimate(seen[name]) for name in (*self.weights, *self.limits)}
        return sum(weight * scores[name] for name, weight in self.weights.items()), scores
