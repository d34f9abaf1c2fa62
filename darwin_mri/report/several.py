"""Several runs on one page: arms, presets, seeds or generations side by side, through the same view and renderers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from darwin_mri.records import Alert
from darwin_mri.report import alerts, several_sections, verdict, words
from darwin_mri.report.run import Run
from darwin_mri.report.scores import READINGS
from darwin_mri.report.several_sections import Named, against_better, composite_score
from darwin_mri.report.verdict import Verdict, read_contrast
from darwin_mri.report.view import Tile, View


def build_runs_view(runs: Sequence[Run], folders: Sequence[str] = ()) -> View:
    """Put several runs into words.

    Args:
        runs: at least one, in the order to show them.
        folders: names that tell runs of one name apart, one per run.

    Returns:
        a view of the same kind as that of one run; the same runs give an equal view.
    """
    named = list(zip(labels(runs, folders), runs, strict=True))
    return View(
        name=" · ".join(name for name, _ in named),
        subtitle=f"{words.plural(len(runs), 'run')} compared",
        verdict=_verdict(named),
        alerts=_alerts(named),
        tiles=tuple(tile for pair in named if (tile := _tile(*pair)) is not None),
        sections=(
            several_sections.overview_section(named),
            several_sections.scores_section(named),
            several_sections.contrasts_section(named),
            several_sections.genomes_section(named),
            several_sections.courses_section(named),
            several_sections.differences_section(named),
            several_sections.genealogy_section(named),
            several_sections.commands_section(named),
            several_sections.limits_section(named),
        ),
        tiles_note="Each run's child on its composite, held-out items; the difference is against its better parent.",
        chip=words.plural(len(runs), "run"),
    )


def labels(runs: Sequence[Run], folders: Sequence[str] = ()) -> list[str]:
    """A name per run: its own where no other run has it, else its folder's, else a number is added."""
    names = [run.name for run in runs]
    if folders:
        names = [folder if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]
    return [f"{name} ({number + 1})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def _verdict(named: Sequence[Named]) -> Verdict:
    judged = [(name, verdict.judge(run)) for name, run in named]
    claimed = [name for name, found in judged if found.tone == "gain"]
    unknown = [name for name, found in judged if found.tone == "none"]
    compared = len(named) - len(unknown)
    if not compared:
        headline = "None of these runs can be judged: no child was compared with both its parents."
    elif claimed:
        headline = (
            f"{len(claimed)} of {words.plural(compared, 'judged run')} shows hybrid vigor: {words.listing(claimed)}."
        )
        headline = headline.replace(" shows ", " show ") if len(claimed) > 1 else headline
    else:
        headline = f"No hybrid vigor in {words.plural(compared, 'judged run')}."
    return Verdict("none", headline, tuple((name, found.headline) for name, found in judged))


def _tile(name: str, run: Run) -> Tile | None:
    child, contrast = composite_score(run.comparison), against_better(run.comparison)
    if child is None:
        return None
    reading = f"{words.points(contrast.difference)}, {READINGS[read_contrast(contrast)]}" if contrast else ""
    parents = [s for role in ("father", "mother") if (s := composite_score(run.comparison, role)) is not None]
    return Tile(name, words.percent(child.value), reading, tuple(f"{s.role} {words.percent(s.value)}" for s in parents))


def _alerts(named: Sequence[Named]) -> tuple[Alert, ...]:
    found = [*_incomparable(named)]
    for name, run in named:
        found += [
            Alert(level=alert.level, text=f"{name}: {alert.text}")
            for alert in alerts.find_alerts(run)
            if alert.level != "note" or not run.comparison
        ]
    order = ("serious", "warning", "note")
    return tuple(sorted(found, key=lambda alert: order.index(alert.level)))


def _incomparable(named: Sequence[Named]) -> Iterator[Alert]:
    """What forbids subtracting one run's score from another's."""
    protocols: dict[str, dict[str, None]] = {}
    items: dict[str, dict[frozenset[str], None]] = {}
    for _, run in named:
        for s in run.comparison.scores if run.comparison else ():
            if s.evidence == "measured" and s.benchmark != "composite" and s.protocol:
                protocols.setdefault(s.benchmark, {})[s.protocol] = None
        for benchmark, marks in run.answers.get("child", {}).items():
            items.setdefault(benchmark, {})[frozenset(mark.key for mark in marks)] = None
    for benchmark, known in protocols.items():
        if len(known) > 1:
            yield Alert(
                level="warning",
                text=f"The runs scored {benchmark} under different protocols ({'; '.join(known)}): do not subtract them.",
            )
    for benchmark, known in items.items():
        if len(known) > 1:
            yield Alert(
                level="warning",
                text=f"The runs were not scored on the same items of {benchmark}: compare each child with its own parents only.",
            )
