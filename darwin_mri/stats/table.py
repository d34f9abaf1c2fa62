"""One benchmark's answers, lined up by item so that every comparison is paired, and kept apart by protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from darwin_mri.records import Answer
from darwin_mri.stats import StatsError
from darwin_mri.stats.paired import RESAMPLES, ClusterTotals, Floats


@dataclass(frozen=True)
class Table:
    """Credits of every model that answered one benchmark under one protocol.

    Attributes:
        benchmark: its name.
        models: in the order of the columns.
        items: the first model's answers: cluster, slice and gold of each row.
        credits: of every answer, (items, models).
        seed: of the resamples.
        resamples: how many.
        protocol: its hash.
        others: metric that some answer keeps -> credits by it, (items, models).
    """

    benchmark: str
    models: tuple[str, ...]
    items: tuple[Answer, ...]
    credits: Floats
    seed: int
    resamples: int = RESAMPLES
    protocol: str = ""
    others: Mapping[str, Floats] = field(default_factory=dict[str, Floats])

    @classmethod
    def align(
        cls, benchmark: str, answers: Mapping[str, Sequence[Answer]], seed: int, resamples: int = RESAMPLES
    ) -> Table:
        """Pair the models' answers by item key.

        Args:
            benchmark: its name.
            answers: model -> its answers.
            seed: of the resamples.
            resamples: how many.

        Returns:
            The table, its rows in the order of the first model's answers.

        Raises:
            StatsError: keys repeat, differ, or mean different items, or the answers were given under different
                protocols.
        """
        first, *others = answers
        items = tuple(answers[first])
        if not items:
            raise StatsError(f"{benchmark}: {first} has no answers: score it first")
        protocol = protocol_of(benchmark, first, items)
        rows: list[list[Answer]] = []
        for model in (first, *others):
            if protocol_of(benchmark, model, answers[model]) != protocol:
                raise StatsError(
                    f"{benchmark}: {first} and {model} answered under different protocols ({protocol} and"
                    f" {protocol_of(benchmark, model, answers[model])}): score both under one"
                )
            by_key = {answer.key: answer for answer in answers[model]}
            if len(by_key) != len(answers[model]):
                raise StatsError(
                    f"{benchmark}: {model} answers an item twice: item keys must be unique, score it again"
                )
            unmatched = by_key.keys() ^ {item.key for item in items}
            if unmatched:
                raise StatsError(
                    f"{benchmark}: {first} and {model} were not given the same items ({len(unmatched)} keys in only one"
                    f" of them, such as {min(unmatched)}): score both on the same split and limit"
                )
            for item in items:
                twin = by_key[item.key]
                if (twin.cluster, twin.gold) != (item.cluster, item.gold):
                    raise StatsError(
                        f"{benchmark}: item {item.key} has another cluster or gold choice in {model} than in {first}:"
                        " the items were built differently, score both again"
                    )
            rows.append([by_key[item.key] for item in items])
        names = sorted({name for column in rows for answer in column for name in answer.metrics})
        return cls(
            benchmark,
            (first, *others),
            items,
            np.array([[answer.credit for answer in column] for column in rows]).T,
            seed,
            resamples,
            protocol,
            {
                name: np.array([[answer.metrics.get(name, answer.credit) for answer in column] for column in rows]).T
                for name in names
            },
        )

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

    def column(self, model: str) -> int:
        """Column of a model."""
        return self.models.index(model)

    def mean(self, model: str) -> float:
        """Accuracy of one model on all items."""
        return float(self.credits[:, self.column(model)].mean())

    def slices(self) -> dict[str, list[int]]:
        """Rows of each slice, by name; of ``a/b`` also those of ``a``. A slice that holds every item is left out."""
        rows: dict[str, list[int]] = {}
        for row, item in enumerate(self.items):
            whole, _, part = item.slice.partition("/")
            for name in (whole, item.slice) if part else (whole,):
                rows.setdefault(name, []).append(row)
        return {name: rows[name] for name in sorted(rows) if len(rows[name]) < self.n}

    def difference(self, model: str, other: str) -> ClusterTotals:
        """Per-cluster totals of paired credit differences, model minus other."""
        sums = self.totals.sums[:, self.column(model)] - self.totals.sums[:, self.column(other)]
        return ClusterTotals(sums, self.totals.sizes)

    def wins_and_losses(self, model: str, other: str) -> tuple[int, int]:
        """Items on which ``model`` has more credit than ``other``, and items on which it has less."""
        gap = self.credits[:, self.column(model)] - self.credits[:, self.column(other)]
        return int((gap > 0).sum()), int((gap < 0).sum())


@dataclass(frozen=True)
class Tables:
    """The tables of each benchmark, one per protocol: models of different tables are never compared.

    Attributes:
        by_benchmark: benchmark -> its tables.
    """

    by_benchmark: Mapping[str, tuple[Table, ...]]

    @classmethod
    def align(cls, answers: Mapping[str, Mapping[str, Sequence[Answer]]], seed: int, resamples: int) -> Tables:
        """One table per benchmark and protocol.

        Args:
            answers: model -> benchmark -> its answers.
            seed: of the resamples.
            resamples: how many.

        Returns:
            The tables.

        Raises:
            StatsError: as ``Table.align``.
        """
        grouped: dict[str, dict[str, dict[str, Sequence[Answer]]]] = {}
        for model, by_benchmark in answers.items():
            for benchmark, given in by_benchmark.items():
                protocol = protocol_of(benchmark, model, given)
                grouped.setdefault(benchmark, {}).setdefault(protocol, {})[model] = given
        return cls(
            {
                benchmark: tuple(Table.align(benchmark, group, seed, resamples) for group in groups.values())
                for benchmark, groups in grouped.items()
            }
        )

    def __iter__(self) -> Iterator[str]:
        """Names of the benchmarks."""
        return iter(self.by_benchmark)

    def shared(self, benchmark: str, *models: str) -> Table | None:
        """The table in which all of these models stand, None where they do not share one."""
        tables = self.by_benchmark.get(benchmark, ())
        return next((table for table in tables if set(models) <= set(table.models)), None)

    def all_shared(self, benchmarks: Sequence[str] | Mapping[str, float], *models: str) -> dict[str, Table] | None:
        """Their common table on each of these benchmarks; None where one is missing, or there are no benchmarks."""
        tables = {name: table for name in benchmarks if (table := self.shared(name, *models)) is not None}
        return tables if tables and len(tables) == len(benchmarks) else None


def protocol_of(benchmark: str, model: str, answers: Sequence[Answer]) -> str:
    """The one protocol hash of a model's answers on a benchmark; empty where there are no answers.

    Args:
        benchmark: its name, for the message.
        model: its name, for the message.
        answers: the model's.

    Returns:
        The hash.

    Raises:
        StatsError: there are several protocols.
    """
    hashes = sorted({answer.protocol for answer in answers})
    if len(hashes) > 1:
        raise StatsError(f"{benchmark}: {model} answered under {len(hashes)} protocols ({', '.join(hashes)}): use one")
    return hashes[0] if hashes else ""
