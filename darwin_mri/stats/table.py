"""One benchmark's answers, lined up by item so that every comparison is paired."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from darwin_mri.records import Answer
from darwin_mri.stats import StatsError
from darwin_mri.stats.paired import RESAMPLES, ClusterTotals, Floats, bootstrap_means


@dataclass(frozen=True)
class Table:
    """Credits of every model that sat one benchmark: ``credits`` is (items, models), rows in the first model's order."""

    benchmark: str
    models: tuple[str, ...]
    items: tuple[Answer, ...]  # the first model's answers: cluster, slice and gold of each row
    credits: Floats
    seed: int
    resamples: int = RESAMPLES

    @classmethod
    def align(
        cls, benchmark: str, answers: Mapping[str, Sequence[Answer]], seed: int, resamples: int = RESAMPLES
    ) -> Table:
        """Pair the models' answers by item key; raises StatsError when keys repeat, differ, or mean different items."""
        first, *others = answers
        items = tuple(answers[first])
        if not items:
            raise StatsError(f"{benchmark}: {first} has no answers: score it first")
        columns: list[list[float]] = []
        for model in (first, *others):
            by_key = {answer.key: answer for answer in answers[model]}
            if len(by_key) != len(answers[model]):
                raise StatsError(
                    f"{benchmark}: {model} answers an item twice: item keys must be unique, score it again"
                )
            odd = by_key.keys() ^ {item.key for item in items}
            if odd:
                raise StatsError(
                    f"{benchmark}: {first} and {model} were not given the same items ({len(odd)} keys in only one of them,"
                    f" such as {min(odd)}): score both on the same split and limit"
                )
            for item in items:
                twin = by_key[item.key]
                if (twin.cluster, twin.gold) != (item.cluster, item.gold):
                    raise StatsError(
                        f"{benchmark}: item {item.key} has another cluster or gold choice in {model} than in {first}:"
                        " the items were built differently, score both again"
                    )
            columns.append([by_key[item.key].credit for item in items])
        return cls(benchmark, (first, *others), items, np.array(columns).T, seed, resamples)

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.items)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """Cluster of each row."""
        return tuple(item.cluster for item in self.items)

    @cached_property
    def totals(self) -> ClusterTotals:
        """Per-cluster credits, (clusters, models)."""
        return ClusterTotals.of(self.credits, self.clusters)

    @cached_property
    def resampled(self) -> Floats:
        """Means of every model in the same cluster resamples, (resamples, models)."""
        return bootstrap_means(self.totals, self.generator("bootstrap"), self.resamples)

    def generator(self, purpose: str) -> np.random.Generator:
        """Random numbers that depend on seed, benchmark and purpose only, never on what else is compared."""
        return generator(self.seed, self.benchmark, purpose)

    def column(self, model: str) -> int:
        return self.models.index(model)

    def mean(self, model: str) -> float:
        """Accuracy of one model on all items."""
        return float(self.credits[:, self.column(model)].mean())

    def slices(self) -> dict[str, list[int]]:
        """Rows of each slice, by name; none when there is only one slice, which "all" already shows."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            rows.setdefault(item.slice, []).append(row)
        return {name: rows[name] for name in sorted(rows)} if len(rows) > 1 else {}

    def difference(self, model: str, other: str) -> ClusterTotals:
        """Per-cluster totals of paired credit differences, model minus other."""
        sums = self.totals.sums[:, self.column(model)] - self.totals.sums[:, self.column(other)]
        return ClusterTotals(sums, self.totals.sizes)

    def wins_and_losses(self, model: str, other: str) -> tuple[int, int]:
        """Items on which ``model`` has more credit than ``other``, and items on which it has less."""
        gap = self.credits[:, self.column(model)] - self.credits[:, self.column(other)]
        return int((gap > 0).sum()), int((gap < 0).sum())


def generator(seed: int, *names: str) -> np.random.Generator:
    """A numpy generator for a named purpose, the same on every machine."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
