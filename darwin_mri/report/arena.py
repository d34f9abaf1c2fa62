"""An arena on one page and in a terminal: verdict, every cell's composite, contrasts with all nulls, seeds, costs."""

from __future__ import annotations

from pathlib import Path

import yaml

from darwin_mri.records import CHILD, Alert, ArenaResult, ArenaRow, Contrast, write_text
from darwin_mri.report import scores, words
from darwin_mri.report.elements import Code, Row, Section, Table, Text, table
from darwin_mri.report.html import render_html
from darwin_mri.report.scores import READINGS
from darwin_mri.report.verdict import Verdict, read_contrast
from darwin_mri.report.view import Tile, View

COMPOSITE = "composite"


def build_arena_view(result: ArenaResult) -> View:
    """Put an arena into words; the same record gives an equal view."""
    comparison = result.comparison
    return View(
        name=result.name,
        subtitle=f"{result.father} × {result.mother}  ·  {words.plural(len(result.seeds), 'seed')}"
        f"  ·  {result.items} held-out items per seed",
        verdict=Verdict("gain" if result.vigor else "level", result.sentence),
        alerts=_alerts(result),
        tiles=tuple(Tile(name, score, reading, tuple(lines)) for name, score, reading, lines in scores.tiles(comparison)),
        sections=(
            Section("arena", "Arms and nulls", (arena_table(result), _how(result))),
            scores.scores_section(comparison),
            scores.contrasts_section(comparison),
            scores.slices_section(comparison),
            Section("config", "Config", (Code("arena", yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True)),)),
        ),
        tiles_note="The best arm's child (best on search items), held-out items of all seeds; the difference is against the better parent.",
    )  # fmt: skip


def arena_table(result: ArenaResult) -> Table:
    """One line per arm and null: composites by seed, the difference of the best arm's child from it, corrected p-value, cost."""
    contrasts = {c.name: c for c in result.comparison.contrasts if c.benchmark == COMPOSITE}
    rows, last = [], ""
    for row in result.rows:
        child = (row.arm, row.null) == (result.best, CHILD)
        contrast = None if child else contrasts.get(f"child - {_label(result, row)}")
        cells = (
            row.arm,
            "" if row.null == CHILD else row.null,
            "/".join(f"{ratio:g}" for ratio in row.ratios),
            words.percent(sum(row.values) / len(row.values)),
            " / ".join(words.fixed(100 * value, 1) for value in row.values),
            words.difference(contrast) if contrast else "",
            words.probability(contrast.p_holm) if contrast else "",
            _reading(contrast),
            f"{row.seconds:.0f} s" if row.seconds else "",
        )
        role = "child" if child else row.null if row.arm == "parents" else "null" if row.null != CHILD else "baseline"
        rows.append(Row(cells, role, child, row.arm != last))
        last = row.arm
    return table(
        "Composite of held-out items",
        ("arm", "null", "ratio", "mean", "by seed, %", "best child minus this", "p (Holm)", "child is", "made in"),
        rows,
        text=(0, 1, 2, 4, 7),
        note="Each ratio was chosen on search items, for nulls as for arms. Differences are paired on items, intervals by resampling "
        "facts and stories, p-values by flipping their signs and corrected by Holm over all lines. Time is CPU time of making the "
        "donors; texts that several cells share are counted where they were written first.",
    )  # fmt: skip


def write_arena(result: ArenaResult, out: Path) -> View:
    """Write arena.html into a folder and return the view."""
    view = build_arena_view(result)
    write_text(out / "arena.html", render_html(view))
    return view


def _label(result: ArenaResult, row: ArenaRow) -> str:
    """What the comparison calls a row."""
    if row.arm == "parents":
        return row.null
    if row.arm == result.best:
        return f"null:{row.null}"
    return row.arm if row.null == CHILD else f"{row.arm} {row.null}"


def _reading(contrast: Contrast | None) -> str:
    return "" if contrast is None else READINGS[read_contrast(contrast)]


def _how(result: ArenaResult) -> Text:
    ignorant = f" The ignorant mother is {result.ignorant}." if result.ignorant else ""
    return Text(
        f"Vigor is claimed when the child of the best arm ({result.best}) beats the father, the mother and every one of its nulls on "
        f"the composite at p < 0.01 after correction.{ignorant}"
    )


def _alerts(result: ArenaResult) -> tuple[Alert, ...]:
    found = list(result.comparison.alerts)
    if result.ignorant is None:
        found.append(Alert(level="warning", text="No ignorant mother was given: that null is missing."))
    return tuple(found)
