"""Scores, contrasts and slices as sections: the numbers in words, the forest plots as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from darwin_mri.records import Comparison, Contrast, LimitCheck, Score
from darwin_mri.records.roles import FAMILIES, PARENTS, named
from darwin_mri.report import formats
from darwin_mri.report.charts import Forest, ForestPanel, ForestRow
from darwin_mri.report.model.elements import (
    Figure,
    Row,
    Section,
    Table,
    Text,
    other_label,
    score_label,
    table,
)
from darwin_mri.report.model.findings import (
    COMPOSITE,
    better_parent,
    is_accuracy,
    reading_label,
    words_of,
)
from darwin_mri.report.model.retold import retold_vigor
from darwin_mri.report.record_words import benchmark_label, evidence_label, split_label
from darwin_mri.report.sections import axes
from darwin_mri.translation import labels, later, say, say_in
from darwin_mri.units import MIXED


def benchmark_order(comparison: Comparison) -> list[str]:
    """Composite first, then the headline's order, then what else was scored."""
    names = dict.fromkeys((*comparison.headline, *(s.benchmark for s in comparison.scores)))
    scored = {s.benchmark for s in comparison.scores}
    return sorted((n for n in names if n in scored), key=lambda name: name != COMPOSITE)


def sorted_scores(comparison: Comparison, benchmark: str) -> list[Score]:
    """Scores on the whole of a benchmark: parents, child, base, nulls, baselines."""
    scores = [s for s in comparison.scores if s.benchmark == benchmark and s.slice == "all"]
    return sorted(scores, key=lambda s: FAMILIES.index(s.family))


def _sorted_contrasts(comparison: Comparison, benchmark: str) -> list[Contrast]:
    contrasts = [c for c in comparison.contrasts if c.benchmark == benchmark]
    return sorted(contrasts, key=lambda c: FAMILIES.index(c.other))


def score_table(comparison: Comparison, folded: bool = False) -> Table:
    """Every score on a whole benchmark, one line each."""
    rows = []
    for benchmark in benchmark_order(comparison):
        for index, s in enumerate(sorted_scores(comparison, benchmark)):
            split = "" if s.split == "held-out" or s.evidence != "measured" else split_label(s.split)
            source = "; ".join(filter(None, (evidence_label(s.evidence), split, s.source)))
            role = s.model if s.role == "child" and not has_parents(comparison) else score_label(s)
            cells = (
                axes.task(benchmark, s.unit),
                role,
                s.model,
                formats.score(s, bare=True),
                formats.percent(s.chance),
                source,
            )
            rows.append(Row(cells, s.family, s.role == "child", index == 0))
    scores = table(
        say("Scores"),
        labels("benchmark", "role", "model", "score, 95 % interval", "chance", "evidence"),
        rows,
        text=(0, 1, 2, 5),
        folded=folded,
        note=say("Measured scores are on held-out items unless the last column says otherwise.")
        + " "
        + _protocols(comparison),
    )
    scores = replace(scores, marked=1)
    return scores if any(row.cells[1] != row.cells[2] for row in rows) else scores.without(2)


def has_parents(comparison: Comparison) -> bool:
    """Whether parents were scored: without them the "child" is only the model that the others are compared with."""
    return any(s.role in PARENTS for s in comparison.scores)


def _protocols(comparison: Comparison) -> str:
    """The protocols of the measured scores, the composite's being those of its parts; what is negated."""
    measured = [s for s in comparison.scores if s.evidence == "measured" and s.benchmark != COMPOSITE]
    protocols = list(dict.fromkeys(s.protocol for s in measured if s.protocol))
    negated = f" {say(axes.NEGATED)}" if axes.has_negated(comparison.scores) else ""
    return (say("Protocol: {protocols}.", protocols="; ".join(protocols)) if protocols else "") + negated


def contrast_table(comparison: Comparison, folded: bool = False) -> Table:
    """Every contrast with its tests and the smallest difference it could have seen."""
    rows = []
    for benchmark in benchmark_order(comparison):
        for index, c in enumerate(_sorted_contrasts(comparison, benchmark)):
            cells = (
                axes.task(benchmark, c.unit),
                other_label(c),
                formats.difference(c, bare=True),
                reading_label(c),
                formats.probability(c.p_value),
                formats.probability(c.p_holm),
                f"{c.wins}/{c.losses}",
                formats.probability(c.p_mcnemar),
                str(c.n),
                formats.fixed(c.detectable, 4) if c.unit else formats.fixed(100 * c.detectable, 1),
            )
            rows.append(Row(cells, c.other, c.against_parent, index == 0))
    first = next((s.model for s in comparison.scores if s.role == "child"), say("child"))
    columns = (
        say("benchmark"),
        say("child minus") if has_parents(comparison) else say("{model} minus", model=first),
        *labels("difference, 95 %", "reading", "p", "Holm", "won/lost", "McNemar", "n", "visible"),
    )
    contrasts = table(
        say("Contrasts"),
        columns,
        rows,
        text=(0, 1, 3),
        folded=folded,
        note=_contrast_note(comparison),
    )
    return replace(contrasts, marked=1, spare=(7, 6, 9))


def _contrast_note(comparison: Comparison) -> str:
    """How to read contrasts; also what won and lost mean where an answer is neither right nor wrong."""
    if any(c.unit for c in comparison.contrasts):
        return say(
            "Paired on the same items. p by cluster sign flips; Holm over the declared family; McNemar is exact on"
            " items won and lost (scored higher and lower). Visible: the smallest difference, in pp or the unit of the"
            " difference, that this many items show with 80 % power."
        )
    return say(
        "Paired on the same items. p by cluster sign flips; Holm over the declared family; McNemar is exact on items"
        " won and lost. Visible: the smallest difference, in pp, that this many items show with 80 % power."
    )


def scores_section(comparison: Comparison | None) -> Section:
    """Section 'scores': forest plot with every value printed, the full table folded under it."""
    key, title = "scores", say("Scores")
    if comparison is None:
        return Section(key, title, missing=say("comparison.json is missing: nothing was scored. Run darwin-mri breed."))
    panels: dict[str, list[ForestPanel]] = {}  # by unit: only values of one unit share an axis
    for benchmark in benchmark_order(comparison):
        scores = sorted_scores(comparison, benchmark)
        reference = better_parent(comparison, benchmark)
        chance = next((s.chance for s in scores if s.chance is not None), None)
        rows = tuple(_forest_row(s) for s in scores)
        label = words_of(comparison).best
        panel = ForestPanel(benchmark_label(benchmark), rows, chance, reference.value if reference else None, label)
        panels.setdefault(scores[0].unit if scores else "", []).append(panel)
    if not panels:
        return Section(key, title, missing=say("comparison.json holds no score."))
    note = say(
        "Filled marks are measured here, hollow ones are published or estimated by others and take no part in any test."
    )
    note += _composite(comparison)
    charts = [
        Forest(
            axes.chart_key("fig-scores", unit),
            say("{scores} with 95 % intervals", scores=axes.value_words(unit, all_accuracies(comparison))),
            say(
                "For each benchmark one line per model: its score as a mark, the 95 % interval as a whisker, chance as"
                " a dotted tick. Every value is printed beside it and in the table below.",
            ),
            tuple(group),
            unit=axes.score_axis(unit, all_accuracies(comparison)),
            scale=axes.scale(unit),
            legend=number == 0 or any(panel.chance is not None for panel in group),
        )
        for number, (unit, group) in enumerate(panels.items())
    ]
    return Section(key, title, figures(charts, score_table(comparison, folded=True), note))


def figures(charts: Sequence[Forest], values: Table, note: str = "") -> tuple[Figure, ...]:
    """Charts in different units, the note with the first and the table of all values with the last.

    Args:
        charts: one for each unit.
        values: the table of the same values.
        note: for the first chart.

    Returns:
        A figure for each chart.
    """
    return tuple(
        Figure(chart, (values,) if i == len(charts) - 1 else (), "" if i else note) for i, chart in enumerate(charts)
    )


def all_accuracies(comparison: Comparison) -> bool:
    """Whether every fraction is a share of right answers, and none another metric of that range."""
    return all(is_accuracy(s.metric) for s in comparison.scores if not s.unit)


def _composite(comparison: Comparison) -> str:
    parts = [f"{formats.fixed(weight, 2)} {name}" for name, weight in comparison.composite.items()]
    if not parts:
        return ""
    units = {s.unit for s in comparison.scores if s.benchmark == COMPOSITE}
    tasks = " + ".join(parts)
    if MIXED in units:
        return " " + say("Composite = {tasks}, each in its own unit.", tasks=tasks)
    return " " + say("Composite = {tasks}.", tasks=tasks)


def _forest_row(s: Score) -> ForestRow:
    label = score_label(s)
    if s.split not in ("held-out", "unknown"):
        label += " " + say("({split} items)", split=split_label(s.split))
    measured = s.evidence == "measured"
    more = formats.score_details(s) + (f": {s.source}" if s.source and not measured else "")
    return ForestRow(
        label,
        s.family,
        s.value,
        s.low,
        s.high,
        formats.score_interval(s, bare=True),
        more,
        hollow=not measured,
        strong=s.role == "child",
    )


def contrasts_section(comparison: Comparison | None) -> Section:
    """Section 'contrasts': the child minus each other model."""
    key, title = "contrasts", say("Child against the others")
    if comparison is None:
        return Section(
            key, title, missing=say("comparison.json is missing: nothing was compared. Run darwin-mri breed.")
        )
    limits = (limits_table(comparison.limits),) if comparison.limits else ()
    charts = contrast_charts(comparison)
    if not charts:
        return Section(
            key, title, missing=say("comparison.json holds no contrast: there was no measured child to compare.")
        )
    note = say(
        "Grey bands: differences too small for this many items to show (80 % power). An interval that crosses zero is"
        " no result.",
    )
    sentence = (Text(retold_vigor(comparison)),) if comparison.vigor else ()
    return Section(key, title, (*sentence, *limits, *figures(charts, contrast_table(comparison), note)))


def contrast_charts(comparison: Comparison, key: str = "fig-contrasts", child: str = later("Child")) -> list[Forest]:
    """The child minus each other model, a chart for each unit.

    Args:
        comparison: with the contrasts.
        key: of the charts in the page.
        child: what the child is called, in English.

    Returns:
        The charts; none without a contrast.
    """
    panels: dict[str, list[ForestPanel]] = {}
    for benchmark in benchmark_order(comparison):
        contrasts = _sorted_contrasts(comparison, benchmark)
        if contrasts:
            panel = ForestPanel(benchmark_label(benchmark), tuple(map(_contrast_row, contrasts)))
            panels.setdefault(contrasts[0].unit, []).append(panel)
    return [
        Forest(
            axes.chart_key(key, unit),
            say("{child} minus each other model, paired on items, with 95 % intervals", child=say(child))
            + axes.in_unit(unit),
            say(
                "For each benchmark one line per other model: by how much the {child} is above (right) or below"
                " (left), in {unit}. The grey band is what this many items could not have shown.",
                child=say(child.lower()),
                unit=axes.gain_words(unit),
            ),
            tuple(group),
            signed=True,
            unit=say("{unit}, {child} minus the other", unit=axes.gain_words(unit), child=say(child.lower())),
            scale=axes.scale(unit),
        )
        for unit, group in panels.items()
    ]


def limits_table(checks: Sequence[LimitCheck]) -> Table:
    """Whether the child keeps each limit of its run, and how sure that is."""
    rows = [
        Row(
            (
                check.task,
                _limit_reading(check),
                named(check.against),
                formats.least_gain(check.worsen_by, check.unit),
                f"{formats.gain_value(check.difference, check.unit)}"
                f" {formats.gain_interval(check.low, check.high, check.unit)}",
            ),
            strong=not check.kept,
        )
        for check in checks
    ]
    columns = labels("limit on", "held-out items say", "against", "may lose", "child minus it, 95 %")
    sure = all(check.certain for check in checks)
    note = "" if sure else say("Within noise: the interval does not lie on one side of the limit.")
    return table(say_in("of tasks", "Limits"), columns, rows, text=(0, 1, 2), note=note)


def _limit_reading(check: LimitCheck) -> str:
    if check.certain:
        return say("kept") if check.kept else say("broken")
    return say("kept, within noise") if check.kept else say("broken, within noise")


def _contrast_row(c: Contrast) -> ForestRow:
    return ForestRow(
        f"{formats.MINUS} {other_label(c)}",
        c.other,
        c.difference,
        c.low,
        c.high,
        formats.difference(c, bare=True),
        axes.counts(c),
        strong=c.against_parent,
        blind=c.detectable,
    )
