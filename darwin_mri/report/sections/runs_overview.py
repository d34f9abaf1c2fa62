"""The overview of a page that compares several runs: one table, a row per run, which a reader can sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from darwin_mri.records import Manifest, Score
from darwin_mri.records.roles import role_label
from darwin_mri.report import formats
from darwin_mri.report.model import verdict
from darwin_mri.report.model.elements import Row, Section, table
from darwin_mri.report.model.findings import (
    COMPOSITE,
    against_better_parent,
    better_parent,
    fitness_gap,
    measured_score,
    measured_scores,
)
from darwin_mri.report.model.run_alerts import find_alerts
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.sections.runs_scores import FEW, Named, best_parent
from darwin_mri.translation import labels, say, say_count

Cell = tuple[str, float | None]  # what is printed, and the number to sort by; text has none
NONE: Cell = ("", None)


def overview_section(named: Sequence[Named]) -> Section:
    """The runs side by side, one line each."""
    best = best_parent(named)
    columns = (
        *labels("run", "verdict", "child, composite"),
        best,
        say("child minus {best}", best=best),
        *labels("best null", "alerts", "evaluations", "frozen layers", "seconds", "date, UTC"),
        *labels("method", "seed", "fresh items", "parents"),
    )
    rows = [_overview_row(name, run) for name, run in named]
    note = say(
        "Child, parents and nulls: composite of the held-out items with 95 % intervals. Alerts: those of the run's own"
        " report, without notes. Frozen layers: kept as the father's for every parent. Seconds: all stages of the run."
        " Fresh items: how far the winner's fitness moves on search items that did not choose it."
    )
    absent = [name for name, run in named if run.comparison is None]
    missing = (
        say("comparison.json is missing in {runs}: nothing was scored there.", runs=formats.listing(absent, FEW))
        if absent
        else ""
    )
    text = [columns.index(name) for name in labels("run", "verdict", "date, UTC", "method", "parents")]
    shown = replace(
        table(say("Runs"), columns, rows, text=text, note=note),
        spare=tuple(
            columns.index(name) for name in labels("parents", "seed", "method", "fresh items", "date, UTC", "seconds")
        ),
    )
    return Section("runs", say("The runs"), (shown,), missing=missing)


def _overview_row(name: str, run: RunRecords) -> Row:
    tone = verdict.judge(run).tone
    cells = (
        (name, None),
        (say(verdict.TONES[tone]), -float(list(verdict.TONES).index(tone))),
        *_scored(run),
        _alarmed(run),
        *_searched(run),
        *_run(run.manifest),
        (run.genome.method if run.genome else "", None),
        (str(run.genome.seed), run.genome.seed) if run.genome else NONE,
        _fresh(run),
        (" × ".join(run.genome.roles.values()) if run.genome else "", None),
    )
    texts, keys = zip(*cells, strict=True)
    return Row(tuple(text or formats.ABSENT for text in texts), strong=tone == "gain", keys=keys)


def _scored(run: RunRecords) -> tuple[Cell, Cell, Cell, Cell]:
    """The child's composite, its best parent's, their difference, the best null's."""
    if run.comparison is None:
        return NONE, NONE, NONE, NONE
    contrast = against_better_parent(run.comparison)
    nulls = [score for score in measured_scores(run.comparison, COMPOSITE) if score.null is not None]
    best = max(nulls, key=lambda score: score.value, default=None)
    return (
        _score("", measured_score(run.comparison, "child")),
        _score("role", better_parent(run.comparison)),
        (formats.difference(contrast), contrast.difference) if contrast else NONE,
        _score("null", best),
    )


def _score(named_by: str, score: Score | None) -> Cell:
    if score is None:
        return NONE
    if not named_by:
        return formats.score_interval(score), score.value
    name = role_label(score.role) if named_by == "role" else score.null
    return f"{name} {formats.score_value(score.value, score.unit)}", score.value


def _alarmed(run: RunRecords) -> Cell:
    """How many alerts a reader must settle first; the serious ones weigh more than any number of warnings."""
    levels = [alert.level for alert in find_alerts(run)]
    serious, warnings = levels.count("serious"), levels.count("warning")
    parts = [say("{count} serious", count=serious)] if serious else []
    parts += [say_count("{count} warning", "{count} warnings", warnings)] if warnings else []
    return ", ".join(parts) or say("none"), 1000 * serious + warnings


def _searched(run: RunRecords) -> tuple[Cell, Cell]:
    """Evaluations and frozen layers."""
    evaluations = len(run.ledger)
    frozen = len(run.prior.frozen) if run.prior else None
    layers = len({layer.index for layer in run.prior.layers}) if run.prior else 0
    return (
        (formats.count(evaluations), evaluations) if evaluations else NONE,
        NONE if frozen is None else (say("{frozen} of {layers}", frozen=frozen, layers=layers), frozen),
    )


def _run(manifest: Manifest | None) -> tuple[Cell, Cell]:
    """How long the run took, and when it started; a text in this form sorts as time does."""
    if manifest is None:
        return NONE, NONE
    seconds = sum(manifest.seconds.values())
    shown = formats.fixed(seconds, 0 if seconds >= 100 else 1)
    return (shown, seconds) if manifest.seconds else NONE, (manifest.created[:16].replace("T", " "), None)


def _fresh(run: RunRecords) -> Cell:
    gap = fitness_gap(run.genome)
    return NONE if gap is None else (formats.signed(-gap, 3), -gap)
