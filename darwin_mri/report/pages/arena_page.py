"""The page and table of an arena: verdict, every cell's composite, contrasts with all nulls, seeds, costs."""

from __future__ import annotations

import yaml

from darwin_mri.records import CHILD, Alert, ArenaResult, ArenaRow, Contrast
from darwin_mri.records.arena import PARENTS_ARM, cell_name
from darwin_mri.records.roles import role_label
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Code, Row, Section, Table, Text, table
from darwin_mri.report.model.findings import measured_score, reading_label
from darwin_mri.report.model.retold import retold_alerts, retold_arena
from darwin_mri.report.model.verdict import Verdict
from darwin_mri.report.model.view import View
from darwin_mri.report.sections import accuracy, slices, tiles
from darwin_mri.report.sections.glossary import glossary_section
from darwin_mri.translation import labels, say, say_count


def build_arena_view(result: ArenaResult) -> View:
    """Put an arena into words; the same record gives an equal view."""
    comparison = result.comparison
    config = yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True)
    return View(
        name=result.name,
        subtitle="  ·  ".join(
            (
                f"{result.father} × {result.mother}",
                say_count("{count} seed", "{count} seeds", len(result.seeds)),
                say("{items} held-out items per seed", items=result.items),
            )
        ),
        verdict=Verdict("gain" if result.vigor else "level", retold_arena(result)),
        alerts=_alerts(result),
        tiles=tiles.tiles(comparison),
        sections=(
            Section("arena", say("Arms and nulls"), (arena_table(result), _rule(result))),
            accuracy.scores_section(comparison),
            accuracy.contrasts_section(comparison),
            slices.slices_section(comparison),
            Section("config", say("Config"), (Code("arena", config),)),
            glossary_section(),
        ),
        tiles_note=say(
            "The best arm's child (best on search items), held-out items of all seeds; the difference is against"
            " the better parent.",
        ),
    )


def arena_table(result: ArenaResult) -> Table:
    """One line per arm and null: composites by seed, the best child's difference from it, corrected p-value, cost."""
    rows, last = [], ""
    child = measured_score(result.comparison, "child")
    unit = child.unit if child else ""
    for row in result.rows:
        is_child = (row.arm, row.null) == (result.best, CHILD)
        contrast = None if is_child else _contrast(result, row)
        cells = (
            say("parents") if row.arm == PARENTS_ARM else row.arm,
            _null_label(row),
            "/".join(f"{ratio:g}" for ratio in row.ratios),
            formats.score_value(sum(row.values) / len(row.values), unit),
            " / ".join(formats.fixed(value, 4) if unit else formats.fixed(100 * value, 1) for value in row.values),
            formats.difference(contrast) if contrast else "",
            formats.probability(contrast.p_holm) if contrast else "",
            reading_label(contrast) if contrast else "",
            ", ".join(f"{language} {100 * rise:+.1f} %" for language, rise in row.rises.items()),
            f"{row.seconds:.0f} s" if row.seconds else "",
        )
        rows.append(Row(cells, _role(result, row), is_child, row.arm != last))
        last = row.arm
    by_seed = say("by seed") if unit else say("by seed, %")
    columns = (
        *labels("arm", "null", "ratio", "mean"),
        by_seed,
        *labels("best child minus this", "p (Holm)", "child is", "text loss", "made in"),
    )
    return table(
        say("Composite of held-out items"),
        columns,
        rows,
        text=(0, 1, 2, 4, 7, 8),
        note=say(
            "Each ratio was chosen on search items, for nulls as for arms. Differences are paired on items, intervals"
            " by resampling facts and stories, p-values by flipping their signs and corrected by Holm over all lines."
            " Text loss: how much higher the NLL per byte of prose that the edit was not made from is than the"
            " father's. Time is CPU time of making the donors, the parents' writing included wherever its texts are"
            " used.",
        ),
    )


def _null_label(row: ArenaRow) -> str:
    """A null's name, or which parent it is; the child itself has none."""
    if row.null == CHILD:
        return ""
    return role_label(row.null) if row.arm == PARENTS_ARM else row.null


def _contrast(result: ArenaResult, row: ArenaRow) -> Contrast | None:
    """The best arm's child against a row, on the composite."""
    for c in result.comparison.contrasts:
        if row.arm == PARENTS_ARM:
            same = c.other == row.null
        elif row.arm == result.best:
            same = c.null == row.null
        else:
            same = c.other == "baseline" and c.model == cell_name(row.arm, row.null)
        if same and c.benchmark == COMPOSITE:
            return c
    return None


def _role(result: ArenaResult, row: ArenaRow) -> str:
    """Whose mark a row has."""
    if row.arm == PARENTS_ARM:
        return row.null
    if row.null != CHILD:
        return "null"
    return "child" if row.arm == result.best else "baseline"


def _rule(result: ArenaResult) -> Text:
    ignorant = " " + say("The ignorant mother is {ignorant}.", ignorant=result.ignorant) if result.ignorant else ""
    return Text(
        say(
            "Vigor is claimed when the child of the best arm ({best}) beats the father, the mother and every one of"
            " its nulls on the composite at p < 0.01 after correction.",
            best=result.best,
        )
        + ignorant
    )


def _alerts(result: ArenaResult) -> tuple[Alert, ...]:
    alerts = retold_alerts(result.comparison)
    if result.ignorant is not None:
        return alerts
    text = say("No ignorant mother was given: that null is missing.")
    return (*alerts, Alert(level="warning", text=text, kind="no-ignorant-mother"))
