"""The runs side by side: scores and contrasts on a page that compares several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from darwin_mri.records import Score
from darwin_mri.records.roles import FAMILIES, PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import Forest, ForestPanel, ForestRow
from darwin_mri.report.model.elements import Row, Section, table
from darwin_mri.report.model.findings import (
    COMPOSITE,
    against_better_parent,
    measured_scores,
    read_contrast,
    reading_label,
)
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.record_words import benchmark_label
from darwin_mri.report.sections import axes
from darwin_mri.report.sections.accuracy import all_accuracies, benchmark_order, figures
from darwin_mri.stats.vigor import parent_words
from darwin_mri.translation import labels, say

Named = tuple[str, RunRecords]  # a run under the name it has on the page
SHOWN = (*PARENTS, "child")
FEW = 8  # more runs than this are told in the overview's table, and charts have a line for each child only


def most_parents(named: Sequence[Named]) -> int:
    """Parents of the run that has the most."""
    return max((len(run.parents) for _, run in named), default=2)


def best_parent(named: Sequence[Named]) -> str:
    """What the page calls the parent with the highest score: ``better parent`` where every run has two."""
    return parent_words(most_parents(named)).best


def _benchmarks(named: Sequence[Named]) -> list[str]:
    names = dict.fromkeys(b for _, run in named if run.comparison for b in benchmark_order(run.comparison))
    return sorted(names, key=lambda name: name != COMPOSITE)


def scores_section(named: Sequence[Named]) -> Section:
    """Parents and child of every run, benchmark by benchmark."""
    family = say("child") if len(named) > FEW else say("parents and child")
    panels: dict[str, list[ForestPanel]] = {}
    rows: list[Row] = []
    for benchmark in _benchmarks(named):
        scores = [(name, s) for name, run in named for s in _family_scores(run, benchmark)]
        for number, (name, s) in enumerate(scores):
            cells = (axes.task(benchmark, s.unit), name, role_label(s.role), formats.score(s, bare=True))
            rows.append(Row(cells, s.role, s.role == "child", group=number == 0))
        if len(named) > FEW:
            scores = [(name, s) for name, s in scores if s.role == "child" and benchmark == COMPOSITE]
        for unit in dict.fromkeys(s.unit for _, s in scores):  # two runs may mean different things by a name
            drawn = tuple(_forest_row(name, s) for name, s in scores if s.unit == unit)
            chance = None if unit else _chance(named, benchmark)
            panels.setdefault(unit, []).append(ForestPanel(benchmark_label(benchmark), drawn, chance))
    if not panels:
        return Section("scores", say("Scores"), missing=say("No run has scores."))
    accuracies = all(all_accuracies(run.comparison) for _, run in named if run.comparison)
    charts = [
        Forest(
            axes.chart_key("fig-scores", unit),
            say(
                "{scores} of each run's {family}, with 95 % intervals",
                scores=axes.value_words(unit, accuracies),
                family=family,
            ),
            say("For each benchmark, run by run: {family} with intervals; chance as a dotted tick.", family=family),
            tuple(group),
            unit=axes.score_axis(unit, accuracies),
            scale=axes.scale(unit),
        )
        for unit, group in panels.items()
    ]
    columns = labels("benchmark", "run", "role", "score, 95 % interval")
    shown = replace(table(say("Scores by run"), columns, rows, text=(0, 1, 2), folded=True), marked=2)
    return Section("scores", say("Scores"), figures(charts, shown))


def _family_scores(run: RunRecords, benchmark: str) -> list[Score]:
    """Measured scores of the parents and the child, in this order."""
    scores = measured_scores(run.comparison, benchmark) if run.comparison else []
    return sorted((s for s in scores if s.role in SHOWN), key=lambda s: FAMILIES.index(s.family))


def _forest_row(name: str, s: Score) -> ForestRow:
    more = f"n = {s.n}" if s.n is not None else ""
    text = formats.score_interval(s, bare=True)
    return ForestRow(
        f"{name}: {role_label(s.role)}",
        s.role,
        s.value,
        s.low,
        s.high,
        text,
        more,
        strong=s.role == "child",
    )


def _chance(named: Sequence[Named], benchmark: str) -> float | None:
    scores = (s for _, run in named if run.comparison for s in run.comparison.scores)
    chances = (s.chance for s in scores if s.benchmark == benchmark and s.slice == "all")
    return next((chance for chance in chances if chance is not None), None)


def contrasts_section(named: Sequence[Named]) -> Section:
    """Each child minus its own better or best parent."""
    best = best_parent(named)
    panels: dict[str, list[ForestPanel]] = {}
    rows: list[Row] = []
    for benchmark in _benchmarks(named):
        drawn: dict[str, list[ForestRow]] = {}
        several = 0
        for name, run in named:
            c = against_better_parent(run.comparison, benchmark) if run.comparison else None
            if c is None:
                continue
            text, reading = formats.difference(c, bare=True), read_contrast(c)
            several += 1
            drawn.setdefault(c.unit, []).append(
                ForestRow(
                    say("{run} \N{MINUS SIGN} its {parent}", run=name, parent=role_label(c.other)),
                    "child",
                    c.difference,
                    c.low,
                    c.high,
                    text,
                    axes.counts(c),
                    strong=reading == "above",
                    blind=c.detectable,
                )
            )
            cells = (
                axes.task(benchmark, c.unit),
                name,
                role_label(c.other),
                text,
                reading_label(c),
                formats.probability(c.p_value),
                str(c.n),
            )
            rows.append(Row(cells, group=several == 1))
        if len(named) > FEW and benchmark != COMPOSITE:
            continue
        for unit, lines in drawn.items():
            panels.setdefault(unit, []).append(ForestPanel(benchmark_label(benchmark), tuple(lines)))
    key, title = "contrasts", say("Each child against its {best}", best=best)
    if not panels:
        return Section(key, title, missing=say("No run compares its child with all its parents."))
    charts = [
        Forest(
            axes.chart_key("fig-contrasts", unit),
            say("Child minus its {best}, paired on items, with 95 % intervals", best=best) + axes.in_unit(unit),
            say("For each benchmark one line per run. The grey band is what that many items could not have shown."),
            tuple(group),
            signed=True,
            unit=say("{unit}, child minus its {best}", unit=axes.gain_words(unit), best=best),
            scale=axes.scale(unit),
        )
        for unit, group in panels.items()
    ]
    columns = (
        *labels("benchmark", "run"),
        best,
        *labels("difference, 95 %", "reading", "p", "n"),
    )
    shown = table(say("Contrasts by run"), columns, rows, text=(0, 1, 2, 4), folded=True)
    return Section(key, title, figures(charts, shown))
