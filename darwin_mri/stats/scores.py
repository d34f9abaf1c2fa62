"""One model's scores: on a benchmark, on its slices, by its other metrics, and on the composite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from darwin_mri.records import Protocol, Score
from darwin_mri.records.score import COMPOSITE, Split
from darwin_mri.stats.intervals import Interval, clustered_interval, wilson
from darwin_mri.stats.paired import ClusterTotals, Floats
from darwin_mri.stats.table import Table, Tables
from darwin_mri.units import MIXED


@dataclass(frozen=True)
class Scorekeeper:
    """Makes the scores of models on benchmarks, from what all of them share.

    Attributes:
        tables: every benchmark's answers.
        composite: benchmark -> its weight in the composite.
        protocols: hash -> protocol.
        label: of answers without a protocol hash.
        chance: benchmark -> accuracy of guessing; None where its items have no choices.
        split: which items the answers are to.
        units: benchmark -> unit of its scores; those that are fractions have none.
    """

    tables: Tables
    composite: Mapping[str, float]
    protocols: Mapping[str, Protocol]
    label: str
    chance: Mapping[str, float | None]
    split: Split
    units: Mapping[str, str] = field(default_factory=dict[str, str])

    def scores(self, table: Table, key: str, model: str, role: str) -> list[Score]:
        """Scores on the whole benchmark and on each slice, by the protocol's headline metric.

        Args:
            table: the benchmark's answers.
            key: the model's column.
            model: its name, for the record.
            role: its role, for the record.

        Returns:
            One score for the whole benchmark, and one per slice.
        """
        credits = table.credits[:, table.column(key)]
        rows = {"all": list(range(table.n)), **table.slices()}
        return [self._score(table, credits, part, name, model, role, "") for name, part in rows.items()]

    def secondary(self, table: Table, key: str, model: str, role: str) -> list[Score]:
        """Scores on the whole benchmark, by the protocol's other metrics.

        Args:
            table: the benchmark's answers.
            key: the model's column.
            model: its name, for the record.
            role: its role, for the record.

        Returns:
            One score per other metric.
        """
        headline = self._metric(table)
        return [
            self._score(table, credits[:, table.column(key)], list(range(table.n)), "all", model, role, metric)
            for metric, credits in table.others.items()
            if metric != headline
        ]

    def _score(
        self, table: Table, credits: Floats, rows: Sequence[int], part: str, model: str, role: str, metric: str
    ) -> Score:
        totals = ClusterTotals.of(credits[rows], [table.clusters[row] for row in rows])
        unit = self.units.get(table.benchmark, "")
        low, high = _interval(totals, share=not unit)
        overall = self.chance[table.benchmark]
        return Score(
            model=model,
            role=role,
            benchmark=table.benchmark,
            slice=part,
            evidence="measured",
            protocol=self._label(table),
            correct=round(float(totals.sums.sum()), 9),
            n=totals.n,
            clusters=len(totals.sizes),
            value=float(totals.means),
            low=_known(low),
            high=_known(high),
            chance=overall if part == "all" else _slice_chance(table, rows, overall),
            split=self.split,
            protocol_hash=table.protocol,
            metric=metric or self._metric(table),
            unit=unit,
        )

    def _label(self, table: Table) -> str:
        return self.protocols[table.protocol].label if table.protocol in self.protocols else self.label

    def _metric(self, table: Table) -> str:
        return self.protocols[table.protocol].metric if table.protocol in self.protocols else "acc"

    def composite_score(self, tables: Mapping[str, Table], key: str, model: str, role: str) -> Score:
        """The weighted sum of the benchmarks' headline accuracies.

        Args:
            tables: each benchmark's table that holds the model.
            key: the model's column.
            model: its name, for the record.
            role: its role, for the record.

        Returns:
            The score.
        """
        composite = self.composite
        value = composite_mean(tables, composite, key)
        low, high = _recovered(
            (weight, tables[name].mean(key), _interval(_one(tables[name], key), share=name not in self.units))
            for name, weight in composite.items()
        )
        shares = not any(name in self.units for name in composite)
        chances = [w * one for name, w in composite.items() if (one := self.chance[name]) is not None]
        labels = dict.fromkeys(self._label(table) for table in tables.values())
        return Score(
            model=model,
            role=role,
            benchmark=COMPOSITE,
            slice="all",
            evidence="measured",
            protocol="; ".join(labels),
            correct=None,
            n=sum(table.n for table in tables.values()),
            clusters=sum(len(table.totals.sizes) for table in tables.values()),
            value=value,
            low=_known(max(0.0, low) if shares else low),
            high=_known(min(1.0, high) if shares else high),
            chance=None if len(chances) < len(composite) else sum(chances),
            split=self.split,
            protocol_hash="+".join(table.protocol for table in tables.values() if table.protocol),
            unit="" if shares else common_unit(self.units.get(name, "") for name in composite),
        )


def _known(bound: float) -> float | None:
    """A bound of an interval; None where there is none."""
    return bound if math.isfinite(bound) else None


def common_unit(units: Iterable[str]) -> str:
    """The unit of a weighted sum of scores in these units: their own where it is one, else ``mixed``."""
    different = set(units)
    return different.pop() if len(different) == 1 else MIXED


def _interval(totals: ClusterTotals, *, share: bool) -> Interval:
    """Interval of a mean; of fractions by Wilson's where no items depend on each other."""
    if share and (totals.sizes == 1).all():
        return wilson(float(totals.sums.sum()), totals.n)
    return clustered_interval(totals.sums, totals.sizes, share=share)


def _recovered(parts: Iterable[tuple[float, float, Interval]]) -> Interval:
    """Interval of a weighted sum of independent means, from (weight, mean, interval) of each.

    Each bound's distance from the sum is the root of the sum of squares of the means' own distances (MOVER, Zou and
    Donner 2008, Stat. Med. 27:1693): intervals that are not symmetric, as those of fractions near 1, stay so.
    """
    value = below = above = 0.0
    for weight, mean, (low, high) in parts:
        value += weight * mean
        below += (weight * (mean - low)) ** 2
        above += (weight * (high - mean)) ** 2
    return value - math.sqrt(below), value + math.sqrt(above)


def _slice_chance(table: Table, rows: Sequence[int], chance: float | None) -> float | None:
    """Slices may offer other numbers of choices than the whole (MuSR 2 to 5): count them where they are known."""
    items = [table.items[row] for row in rows]
    choices = [item.choices or len(item.log_probabilities) for item in items]
    if chance is None:
        return None
    return sum(1 / count for count in choices) / len(choices) if min(choices) > 1 else chance


def _one(table: Table, key: str) -> ClusterTotals:
    return ClusterTotals(table.totals.sums[:, table.column(key)], table.totals.sizes)


def composite_mean(tables: Mapping[str, Table], composite: Mapping[str, float], key: str) -> float:
    """One model's weighted sum of accuracies.

    Args:
        tables: benchmark -> its table.
        composite: benchmark -> its weight.
        key: the model's column.

    Returns:
        Accuracy in [0, 1].
    """
    return sum(weight * tables[name].mean(key) for name, weight in composite.items())
