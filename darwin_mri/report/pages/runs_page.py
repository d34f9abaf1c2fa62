"""Several runs on one page: arms, presets, seeds or generations side by side, through the same view and renderers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from darwin_mri.records import Alert
from darwin_mri.records.roles import PARENTS
from darwin_mri.records.score import COMPOSITE, MIXED_PROTOCOLS
from darwin_mri.report import formats
from darwin_mri.report.model import run_alerts, verdict
from darwin_mri.report.model.findings import measured_score
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.model.verdict import Verdict
from darwin_mri.report.model.view import Tile, View, families
from darwin_mri.report.sections import runs_overview, runs_scores, runs_searches, tiles
from darwin_mri.report.sections.glossary import glossary_section
from darwin_mri.report.sections.runs_scores import FEW, Named
from darwin_mri.translation import say, say_count


def build_runs_view(runs: Sequence[RunRecords], folders: Sequence[str] = ()) -> View:
    """Put several runs into words.

    Args:
        runs: at least one, in the order to show them.
        folders: names that tell runs of one name apart, one per run.

    Returns:
        a view of the same kind as that of one run; the same runs give an equal view.
    """
    named = list(zip(labels(runs, folders), runs, strict=True))
    parents, best = runs_scores.most_parents(named), runs_scores.best_parent(named)
    return View(
        name=_names([name for name, _ in named]),
        subtitle=say_count("{count} run compared", "{count} runs compared", len(runs)),
        verdict=_verdict(named),
        alerts=_alerts(named),
        tiles=tuple(tile for pair in named if (tile := _tile(*pair)) is not None) if len(named) <= FEW else (),
        sections=(
            runs_overview.overview_section(named),
            runs_scores.scores_section(named),
            runs_scores.contrasts_section(named),
            runs_searches.genomes_section(named),
            runs_searches.courses_section(named),
            runs_searches.differences_section(named),
            runs_searches.genealogy_section(named),
            runs_searches.commands_section(named),
            runs_searches.limits_section(named),
            glossary_section(parents),
        ),
        tiles_note=say(
            "Each run's child on its composite, held-out items; the difference is against its {best}.", best=best
        ),
        chip=say_count("{count} run", "{count} runs", len(runs)),
        roles=families(parents),
    )


def _names(names: Sequence[str]) -> str:
    """The runs as the page's name; of many the first ones."""
    shown = " · ".join(names[:FEW])
    return say("{names} and {count} more", names=shown, count=len(names) - FEW) if len(names) > FEW else shown


def labels(runs: Sequence[RunRecords], folders: Sequence[str] = ()) -> list[str]:
    """A name per run: its own where no other run has it, else its folder's, else a number is added."""
    names = [run.name for run in runs]
    if folders:
        names = [folder if names.count(name) > 1 else name for name, folder in zip(names, folders, strict=True)]
    return [f"{name} ({number + 1})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def _verdict(named: Sequence[Named]) -> Verdict:
    verdicts = [(name, verdict.judge(run)) for name, run in named]
    claimed = [name for name, one in verdicts if one.tone == "gain"]
    compared = sum(one.tone != "none" for _, one in verdicts)
    if not compared:
        headline = say("None of these runs can be judged: no child was compared with all its parents.")
    elif claimed:
        runs = say_count("{count} judged run", "{count} judged runs", compared)
        headline = say_count(
            "{count} of {runs} shows hybrid vigor: {names}.",
            "{count} of {runs} show hybrid vigor: {names}.",
            len(claimed),
            runs=runs,
            names=formats.listing(claimed, FEW),
        )
    else:
        headline = say_count(
            "No hybrid vigor in {count} judged run.", "No hybrid vigor in {count} judged runs.", compared
        )
    return Verdict("none", headline, tuple((name, one.headline) for name, one in verdicts) if len(named) <= FEW else ())


def _tile(name: str, run: RunRecords) -> Tile | None:
    comparison = run.comparison
    child = measured_score(comparison, "child") if comparison else None
    if comparison is None or child is None:
        return None
    parents = [s for role in PARENTS if (s := measured_score(comparison, role)) is not None]
    return tiles.score_tile(name, child, parents, comparison)


def _alerts(named: Sequence[Named]) -> tuple[Alert, ...]:
    found: dict[tuple[str, str, str], tuple[Alert, list[str]]] = {}
    for name, run in named:
        for alert in run_alerts.find_alerts(run):
            if alert.level != "note" or not run.comparison:
                what = alert.kind if alert.kind and len(named) > FEW else alert.text
                found.setdefault((alert.level, what, alert.benchmark), (alert, []))[1].append(name)
    alerts = [_shared(alert, names, len(named) > FEW) for alert, names in found.values()]
    return run_alerts.sort_alerts([*_incomparable(named), *alerts])


def _shared(alert: Alert, names: Sequence[str], by_kind: bool) -> Alert:
    """One line for an alert that several runs have; of many runs the first one stands for all of its kind."""
    if not by_kind or not alert.kind:
        text = f"{formats.listing(names, FEW)}: {alert.text}"
    else:
        others = formats.listing(names[1:], FEW)
        text = f"{names[0]}: {alert.text}"
        text += " " + say("Alerts of this kind have also: {runs}.", runs=others) if others else ""
    return alert.model_copy(update={"text": text})


def _incomparable(named: Sequence[Named]) -> Iterator[Alert]:
    """What forbids subtracting one run's score from another's."""
    protocols: dict[str, dict[str, None]] = {}
    items: dict[str, dict[frozenset[str], None]] = {}
    for _, run in named:
        for s in run.comparison.scores if run.comparison else ():
            if s.evidence == "measured" and s.benchmark != COMPOSITE and s.protocol:
                protocols.setdefault(s.benchmark, {})[s.protocol] = None
        for benchmark, marks in run.answers.get("child", {}).items():
            items.setdefault(benchmark, {})[frozenset(mark.key for mark in marks)] = None
    for benchmark, known in protocols.items():
        if len(known) > 1:
            names = "; ".join(known)
            text = say(
                "The runs scored {benchmark} under different protocols ({names}): do not subtract them.",
                benchmark=benchmark,
                names=names,
            )
            yield Alert(level="warning", text=text, kind=MIXED_PROTOCOLS, benchmark=benchmark)
    for benchmark, known in items.items():
        if len(known) > 1:
            yield Alert(
                level="warning",
                text=say(
                    "The runs were not scored on the same items of {benchmark}: compare each child with its own"
                    " parents only.",
                    benchmark=benchmark,
                ),
                kind="different-items",
                benchmark=benchmark,
            )
