"""Measured scores on parts of each benchmark, as a section."""

from __future__ import annotations

from darwin_mri.records import Comparison, Score
from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Bullets, Row, Section, table
from darwin_mri.report.sections import axes
from darwin_mri.translation import labels, say


def slices_section(comparison: Comparison | None) -> Section:
    """Section 'slices': measured scores on parts of each benchmark, exploratory."""
    key, title = "slices", say("Slices")
    scores = [s for s in comparison.scores if s.slice != "all" and s.evidence == "measured"] if comparison else []
    if not scores:
        return Section(key, title, missing=say("No benchmark was scored by slice in this run."))
    roles = [role for role in (*PARENTS, "child") if any(s.role == role for s in scores)]
    by_key = {(s.benchmark, s.slice, s.role): s for s in scores}
    rows, last = [], ""
    for benchmark, name in dict.fromkeys((s.benchmark, s.slice) for s in scores):
        by_role = [by_key.get((benchmark, name, role)) for role in roles]
        n = next((s.n for s in by_role if s is not None), None)
        chance = next((s.chance for s in by_role if s is not None), None)
        show = _interval if len(roles) < 4 else _value  # intervals of many parents have no room
        values = ("" if s is None else show(s) for s in by_role)
        cells = (
            axes.task(benchmark, next((s.unit for s in by_role if s is not None), "")),
            name,
            *(v or formats.ABSENT for v in values),
            str(n or formats.ABSENT),
            formats.percent(chance),
        )
        rows.append(Row(cells, group=benchmark != last))
        last = benchmark
    note = "" if len(roles) < 4 else say("The intervals are in comparison.json.")
    shown = table(
        say("Scores by slice"),
        (*labels("benchmark", "slice"), *map(role_label, roles), *labels("n", "chance")),
        rows,
        text=(0, 1),
        note=note,
    )
    return Section(
        key,
        title,
        (
            Bullets((say("Exploratory: intervals but no tests; the more slices, the more of them differ by luck."),)),
            shown,
        ),
    )


def _interval(score: Score) -> str:
    return formats.score_interval(score, bare=True)


def _value(score: Score) -> str:
    return formats.bare_value(score.value, score.unit)
