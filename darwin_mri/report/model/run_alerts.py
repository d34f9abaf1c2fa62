"""What a reviewer must know before believing the verdict: failures, silence, gaps, and what is not there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from darwin_mri.config_arms import READS
from darwin_mri.records import Alert, Score
from darwin_mri.records.roles import MOTHER, named, pair_file, scan_file
from darwin_mri.records.score import LEVELS, Level
from darwin_mri.report import formats
from darwin_mri.report.model.findings import fitness_gap, measured_score
from darwin_mri.report.model.retold import retold_alerts
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.report.model.score_alerts import score_alerts
from darwin_mri.report.record_words import benchmark_label, status_label
from darwin_mri.translation import say, say_count

GAP = 0.03  # a fraction lost on fresh items above this is a warning: the search has learned its items


@dataclass(frozen=True)
class Missing:
    """A part that is not in the run.

    Attributes:
        file: its file.
        what: what cannot be shown without it.
        command: the command that makes it.
    """

    file: str
    what: str
    command: str


def find_missing(run: RunRecords) -> tuple[Missing, ...]:
    """Records that are not there, with what they would show and how to get them."""
    bred = run.ledger or run.genome or run.child
    breed = "darwin-mri breed --resume RUN" if bred and run.manifest else "darwin-mri breed --config FILE"
    # Never for a bred run: --overwrite would clear what the breeding wrote.
    scan = breed if bred else "darwin-mri scan FATHER --against MOTHER --out RUN --overwrite"
    parts = (
        (run.manifest, "manifest.json", say("provenance"), breed),
        (run.inputs, "inputs.json", say("the parents' files and digests"), breed),
        *((run.scans.get(role), scan_file(role), say("{role}'s MRI", role=named(role)), scan) for role in run.parents),
        *((run.pairs.get(role), pair_file(role), _pair_shows(role), scan) for role in run.others),
        (run.prior, "prior.json", say("the prior, frozen layers and trust"), scan),
        (run.ledger or None, "ledger.jsonl", say("the evolution"), breed),
        (run.genome, "genome.json", say("the genome"), breed),
        (run.comparison, "comparison.json", say("scores, contrasts and the verdict"), breed),
        (run.answers or None, "answers/", say("items won and lost"), breed),
        (run.health, "health.json", say("the child's health check"), breed),
        (run.child, "child.json", say("the child's files"), breed),
    )
    return tuple(Missing(file, what, command) for record, file, what, command in parts if record is None)


def _pair_shows(role: str) -> str:
    """What is not shown without the record of the father beside that parent."""
    if role == MOTHER:
        return say("FFN similarity and the layer map")
    return say("FFN similarity and the layer map of father and {role}", role=named(role))


def find_alerts(run: RunRecords) -> tuple[Alert, ...]:
    """Everything a reader must know before reading on, the serious first, each text once."""
    alerts = [
        *_run_alerts(run),
        *_health_alerts(run),
        *(retold_alerts(run.comparison) if run.comparison else ()),
        *(score_alerts(run.comparison) if run.comparison else ()),
        *_search_alerts(run),
        *_scan_alerts(run),
    ]
    missing = find_missing(run)
    if missing:
        parts = "; ".join(f"{part.what} ({part.file})" for part in missing)
        alerts.append(Alert(level="note", text=say("Not in this run: {parts}.", parts=parts), kind="missing-records"))
    unique: dict[str, Alert] = {}
    for alert in alerts:
        unique.setdefault(alert.text, alert)  # a repeated text keeps its first level
    return sort_alerts(unique.values())


def sort_alerts(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """The serious first, those of one level in the order given."""
    return tuple(sorted(alerts, key=lambda alert: LEVELS.index(alert.level)))


def _run_alerts(run: RunRecords) -> Iterator[Alert]:
    for problem in run.problems:
        text = say("A record cannot be read and is left out: {problem}.", problem=problem)
        yield Alert(level="serious", text=text, kind="unreadable-record")
    if run.manifest is None:
        return
    note = f": {run.manifest.note}" if run.manifest.note else ""
    if run.manifest.status == "failed":
        yield Alert(level="serious", text=say("The run failed{note}.", note=note), kind="status")
    elif run.manifest.status in ("running", "interrupted"):
        text = say(
            "The run is not complete (status {status}){note}.", status=status_label(run.manifest.status), note=note
        )
        yield Alert(level="warning", text=text, kind="status")
    if run.manifest.dirty:
        text = say("The code had changes that its commit does not hold: the commit alone cannot repeat this run.")
        yield Alert(level="note", text=text, kind="local-changes")


def _health_alerts(run: RunRecords) -> Iterator[Alert]:
    if run.health is not None and not run.health.passed:
        gates = [
            say(
                "{gate} is {value}, limit {limit}",
                gate=gate.name,
                value=_gate_value(gate.value),
                limit=gate.limit,
            )
            for gate in run.health.gates
            if not gate.passed
        ]
        named_gates = "; ".join(gates) or say("no gate is named")
        text = say("The child failed its health check: {gates}.", gates=named_gates)
        yield Alert(level="serious", text=text, kind="health")
    if run.child is not None and not run.child.changed:
        text = say("No tensor of the child differs from the father's: the child is a copy.")
        yield Alert(level="serious", text=text, kind="unchanged-child")


def _gate_value(value: float | str) -> str:
    return value if isinstance(value, str) else formats.compact(value)


def _search_alerts(run: RunRecords) -> Iterator[Alert]:
    failed = [line for line in run.ledger if line.status == "failed"]
    if failed:
        reason, times = Counter(line.reason or say("no reason given") for line in failed).most_common(1)[0]
        level: Level = "serious" if len(failed) == len(run.ledger) else "warning"
        yield Alert(
            level=level,
            text=say_count(
                "{failed} of {count} evaluation failed and got the worst rank; most often: {reason} ({times}).",
                "{failed} of {count} evaluations failed and got the worst rank; most often: {reason} ({times}).",
                len(run.ledger),
                failed=len(failed),
                reason=reason,
                times=times,
            ),
            kind="failed-evaluations",
        )
    genome, gap = run.genome, fitness_gap(run.genome)
    if genome is not None and gap is not None:
        text = say(
            "The winner's fitness was {search_score} on search items and {retest_score} on fresh ones: a gap of {gap}.",
            search_score=formats.fixed(genome.search_score, 3),
            retest_score=formats.fixed(genome.retest_score, 3),
            gap=formats.signed(gap, 3),
        )
        child = measured_score(run.comparison, "child") if run.comparison else None
        yield Alert(level="warning" if gap > _largest_gap(child) else "note", text=text, kind="fitness-gap")
    yield from _split_gaps(run.comparison.scores if run.comparison else ())


def _largest_gap(score: Score | None) -> float:
    """The fall from search to other items that needs no warning: of scores that are no fractions what is within noise.

    Args:
        score: the child's on held-out items; None where it is not known.
    """
    if score is None or not score.unit:
        return GAP
    return math.inf if score.low is None or score.high is None else (score.high - score.low) / 2


def _split_gaps(scores: Iterable[Score]) -> Iterator[Alert]:
    child = [s for s in scores if s.role == "child" and s.measured_whole]
    by_split = {(s.benchmark, s.split): s for s in child}
    for benchmark in dict.fromkeys(s.benchmark for s in child):
        search, held_out = by_split.get((benchmark, "search")), by_split.get((benchmark, "held-out"))
        if search is None or held_out is None:
            continue
        fall = search.value - held_out.value
        if fall > _largest_gap(held_out):
            yield Alert(
                level="warning",
                text=say(
                    "On {benchmark} the child has {search} on search items but {held_out} on held-out ones ({fall}).",
                    benchmark=benchmark_label(benchmark),
                    search=formats.score_value(search.value, search.unit),
                    held_out=formats.score_value(held_out.value, held_out.unit),
                    fall=formats.gain_value(-fall, held_out.unit),
                ),
                kind="split-gap",
                benchmark=benchmark,
            )


def _place(run: RunRecords) -> object:
    """Where the run's config has an arm write (``arm.place``)."""
    arm = run.manifest.config.get("arm") if run.manifest else None
    return arm.get("place", "answer") if isinstance(arm, dict) else "answer"


def _scan_alerts(run: RunRecords) -> Iterator[Alert]:
    yield from _silent_channels(run)
    for pair in run.pairs.values():
        best = pair.best_reading
        if best is not None and best.answer["a"].value < READS and not pair.teachable_subject(READS):
            text = say(
                "No layer of {father} tells the questions apart in another wording (the best {share} of {count}): an"
                " edit of its FFNs cannot answer them, whoever teaches.",
                father=pair.father.ref,
                share=formats.percent(best.answer["a"].value),
                count=best.questions,
            )
            yield Alert(level="warning", text=text, kind="cannot-be-taught")
        elif best is not None and best.answer["a"].value < READS and _place(run) == "answer":
            text = say(
                "{father} tells the questions apart at their subjects and not where the answer follows ({share} of"
                " {count}): set arm.place: subject.",
                father=pair.father.ref,
                share=formats.percent(best.answer["a"].value),
                count=best.questions,
            )
            yield Alert(level="warning", text=text, kind="taught-at-another-place")
    if run.prior is None:
        return
    if not run.prior.informative:
        note = f" ({run.prior.note})" if run.prior.note else ""
        text = say("The prior carries no information: the search started flat{note}.", note=note)
        yield Alert(level="warning", text=text, kind="flat-prior")
    if run.prior.layers and len(run.prior.frozen) == len({layer.index for layer in run.prior.layers}):
        text = say("Every layer is frozen: the child can only be the father.")
        yield Alert(level="serious", text=text, kind="all-frozen")


def _silent_channels(run: RunRecords) -> Iterator[Alert]:
    """Channels without signal: an alert for each scan, of several parents one for all of them."""
    scans = {named(role): scan.channels for role, scan in run.scans.items()}
    pairs = {
        say("the pair") if role == MOTHER else say("the pair of father and {role}", role=named(role)): pair.channels
        for role, pair in run.pairs.items()
    }
    silent: dict[tuple[int, int, str], list[str]] = {}
    for name, channels in (scans | pairs).items():
        parts = [
            say(
                "{channel} (reliability {reliability}, p {p_value})",
                channel=key,
                reliability=formats.fixed(c.reliability),
                p_value=formats.probability(c.p_value),
            )
            for key, c in channels.items()
            if not c.informative
        ]
        if parts:
            silent.setdefault((len(parts), len(channels), ", ".join(parts)), []).append(name)
    texts = [
        say_count(
            "{silent} of {count} MRI channel of {names}: {channels}",
            "{silent} of {count} MRI channels of {names}: {channels}",
            count,
            silent=number,
            names=formats.listing(names),
            channels=parts,
        )
        for (number, count, parts), names in silent.items()
    ]
    if len(run.parents) > 2 and texts:
        text = say("No signal in {channels}. Read their columns as noise.", channels=say("; in ").join(texts))
        yield Alert(level="note", text=text, kind="no-signal")
        return
    for text in texts:
        yield Alert(
            level="note",
            text=say("No signal in {channels}. Read their columns as noise.", channels=text),
            kind="no-signal",
        )
