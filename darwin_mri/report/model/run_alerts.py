"""What a reviewer must know before believing the verdict: failures, silence, gaps, and what is not there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from darwin_mri.records import Alert, Comparison, Score
from darwin_mri.records.roles import MOTHER, named, pair_file, scan_file
from darwin_mri.records.score import LEVELS, MIXED_PROTOCOLS, Level
from darwin_mri.report import formats
from darwin_mri.report.model.findings import COMPOSITE, fitness_gap, measured_score, read_contrast, words_of
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.stats.alerts import mixed_protocols

ROUNDING = 0.0005  # a fraction off by less than this prints alike
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
        (run.manifest, "manifest.json", "provenance", breed),
        (run.inputs, "inputs.json", "the parents' files and digests", breed),
        *((run.scans.get(role), scan_file(role), f"{named(role)}'s MRI", scan) for role in run.parents),
        *((run.pairs.get(role), pair_file(role), _pair_shows(role), scan) for role in run.others),
        (run.prior, "prior.json", "the prior, frozen layers and trust", scan),
        (run.ledger or None, "ledger.jsonl", "the evolution", breed),
        (run.genome, "genome.json", "the genome", breed),
        (run.comparison, "comparison.json", "scores, contrasts and the verdict", breed),
        (run.answers or None, "answers/", "items won and lost", breed),
        (run.health, "health.json", "the child's health check", breed),
        (run.child, "child.json", "the child's files", breed),
    )
    return tuple(Missing(file, what, command) for record, file, what, command in parts if record is None)


def _pair_shows(role: str) -> str:
    """What is not shown without the record of the father beside that parent."""
    return "FFN similarity and the layer map" + ("" if role == MOTHER else f" of father and {role}")


def find_alerts(run: RunRecords) -> tuple[Alert, ...]:
    """Everything a reader must know before reading on, the serious first, each text once."""
    alerts = [
        *_run_alerts(run),
        *_health_alerts(run),
        *(run.comparison.alerts if run.comparison else ()),
        *_score_alerts(run),
        *_search_alerts(run),
        *_scan_alerts(run),
    ]
    missing = find_missing(run)
    if missing:
        parts = "; ".join(f"{part.what} ({part.file})" for part in missing)
        alerts.append(Alert(level="note", text=f"Not in this run: {parts}.", kind="missing-records"))
    unique: dict[str, Alert] = {}
    for alert in alerts:
        unique.setdefault(alert.text, alert)  # a repeated text keeps its first level
    return sort_alerts(unique.values())


def sort_alerts(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """The serious first, those of one level in the order given."""
    return tuple(sorted(alerts, key=lambda alert: LEVELS.index(alert.level)))


def _run_alerts(run: RunRecords) -> Iterator[Alert]:
    for problem in run.problems:
        text = f"A record cannot be read and is left out: {problem}."
        yield Alert(level="serious", text=text, kind="unreadable-record")
    if run.manifest is None:
        return
    note = f": {run.manifest.note}" if run.manifest.note else ""
    if run.manifest.status == "failed":
        yield Alert(level="serious", text=f"The run failed{note}.", kind="status")
    elif run.manifest.status in ("running", "interrupted"):
        text = f"The run is not complete (status {run.manifest.status}){note}."
        yield Alert(level="warning", text=text, kind="status")
    if run.manifest.dirty:
        text = "The code had changes that its commit does not hold: the commit alone cannot repeat this run."
        yield Alert(level="note", text=text, kind="local-changes")


def _health_alerts(run: RunRecords) -> Iterator[Alert]:
    if run.health is not None and not run.health.passed:
        gates = [
            f"{gate.name} is {_gate_value(gate.value)}, limit {gate.limit}"
            for gate in run.health.gates
            if not gate.passed
        ]
        text = f"The child failed its health check: {'; '.join(gates) or 'no gate is named'}."
        yield Alert(level="serious", text=text, kind="health")
    if run.child is not None and not run.child.changed:
        text = "No tensor of the child differs from the father's: the child is a copy."
        yield Alert(level="serious", text=text, kind="unchanged-child")


def _gate_value(value: float | str) -> str:
    return value if isinstance(value, str) else formats.compact(value)


def _score_alerts(run: RunRecords) -> Iterator[Alert]:
    comparison = run.comparison
    if comparison is None:
        return
    yield from _narrow_claim(comparison)
    unmeasured = {s.evidence for s in comparison.scores} - {"measured"}
    if unmeasured:
        kinds = formats.listing(sorted(unmeasured)).capitalize()
        text = f"{kinds} scores stand beside measured ones: hollow marks, no interval, never part of a test."
        yield Alert(level="note", text=text, kind="unmeasured-scores")
    yield from _impossible_scores(comparison)
    yield from _contradictions(comparison)
    known = {alert.benchmark for alert in comparison.alerts if alert.kind == MIXED_PROTOCOLS}
    yield from (a for a in mixed_protocols(comparison.scores, COMPOSITE) if a.benchmark not in known)
    splits = {s.split for s in comparison.scores if s.measured_whole} - {"held-out"}
    if splits and not any(s.split == "held-out" for s in comparison.scores):
        names = formats.listing(sorted(splits))
        text = f"No score is held-out (split: {names}): the search may have seen these items."
        yield Alert(level="warning", text=text, kind="not-held-out")


def _impossible_scores(comparison: Comparison) -> Iterator[Alert]:
    """Scores that do not follow from their own counts, and intervals that do not hold their own score."""
    for s in comparison.scores:
        name = f"{s.model} on {s.benchmark}{'' if s.slice == 'all' else f', {s.slice}'}"
        if s.evidence == "measured" and s.correct is not None and s.n and abs(s.value - s.correct / s.n) > ROUNDING:
            yield Alert(
                level="serious",
                text=f"The score of {name} is impossible: {formats.score_value(s.value, s.unit)} is not"
                + (
                    f" the mean of {s.n} items that add up to {formats.fixed(s.correct, 4)}."
                    if s.unit
                    else f" {formats.fixed(s.correct, 1)} right of {s.n}."
                ),
                kind="impossible-score",
                benchmark=s.benchmark,
            )
        if s.low is not None and s.high is not None and not s.low - ROUNDING <= s.value <= s.high + ROUNDING:
            text = f"The interval of {name} does not hold its own score ({formats.score(s)})."
            yield Alert(level="serious", text=text, kind="impossible-interval", benchmark=s.benchmark)


def _contradictions(comparison: Comparison) -> Iterator[Alert]:
    """Differences that do not follow from the scores."""
    whole = [s for s in comparison.scores if s.measured_whole]
    children = {s.benchmark: s for s in whole if s.role == "child"}
    for c in comparison.contrasts:
        child = children.get(c.benchmark)
        other = next((s for s in reversed(whole) if c.against(s)), None)
        if child is None or other is None or not child.n == other.n == c.n:
            continue  # not on the same items
        if abs(c.difference - (child.value - other.value)) > 2 * ROUNDING:
            yield Alert(
                level="serious",
                text=f"The difference {_written(c.name)} on {c.benchmark} is given as"
                f" {formats.gain_value(c.difference, c.unit)}, but the scores differ by"
                f" {formats.gain_value(child.value - other.value, c.unit)}.",
                kind="contradiction",
                benchmark=c.benchmark,
            )


def _written(name: str) -> str:
    """A contrast's name with a true minus sign."""
    return name.replace("-", formats.MINUS)


def _narrow_claim(comparison: Comparison) -> Iterator[Alert]:
    """Vigor is claimed one-sided over all parents; a warning where a two-sided contrast would not carry it."""
    vigor = comparison.vigor
    if vigor is None or not vigor.claimed:
        return
    every = words_of(comparison).every
    for c in comparison.contrasts:
        if c.benchmark == COMPOSITE and c.against_parent and read_contrast(c) != "above":
            yield Alert(
                level="warning",
                text=f"A narrow claim: vigor holds by the one-sided test over {every} (p"
                f" {formats.probability(vigor.p_value)}), but {_written(c.name)} on the composite is within noise"
                f" two-sided (Holm p {formats.probability(c.p_holm)}).",
                kind="narrow-claim",
            )


def _search_alerts(run: RunRecords) -> Iterator[Alert]:
    failed = [line for line in run.ledger if line.status == "failed"]
    if failed:
        reason, times = Counter(line.reason or "no reason given" for line in failed).most_common(1)[0]
        level: Level = "serious" if len(failed) == len(run.ledger) else "warning"
        yield Alert(
            level=level,
            text=f"{len(failed)} of {formats.plural(len(run.ledger), 'evaluation')} failed and got the worst rank; most"
            f" often: {reason} ({times}).",
            kind="failed-evaluations",
        )
    genome, gap = run.genome, fitness_gap(run.genome)
    if genome is not None and gap is not None:
        text = (
            f"The winner's fitness was {formats.fixed(genome.search_score, 3)} on search items and"
            f" {formats.fixed(genome.retest_score, 3)} on fresh ones: a gap of {formats.signed(gap, 3)}."
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
                text=f"On {benchmark} the child has {formats.score_value(search.value, search.unit)} on search items"
                f" but {formats.score_value(held_out.value, held_out.unit)} on held-out ones"
                f" ({formats.gain_value(-fall, held_out.unit)}).",
                kind="split-gap",
                benchmark=benchmark,
            )


def _scan_alerts(run: RunRecords) -> Iterator[Alert]:
    yield from _silent_channels(run)
    if run.prior is None:
        return
    if not run.prior.informative:
        note = f" ({run.prior.note})" if run.prior.note else ""
        text = f"The prior carries no information: the search started flat{note}."
        yield Alert(level="warning", text=text, kind="flat-prior")
    if run.prior.layers and len(run.prior.frozen) == len({layer.index for layer in run.prior.layers}):
        text = "Every layer is frozen: the child can only be the father."
        yield Alert(level="serious", text=text, kind="all-frozen")


def _silent_channels(run: RunRecords) -> Iterator[Alert]:
    """Channels without signal: an alert for each scan, of several parents one for all of them."""
    scans = {named(role): scan.channels for role, scan in run.scans.items()}
    pairs = {
        "the pair" if role == MOTHER else f"the pair of father and {role}": pair.channels
        for role, pair in run.pairs.items()
    }
    silent: dict[tuple[str, str], list[str]] = {}
    for name, channels in (scans | pairs).items():
        parts = [
            f"{key} (reliability {formats.fixed(c.reliability)}, p {formats.probability(c.p_value)})"
            for key, c in channels.items()
            if not c.informative
        ]
        if parts:
            of = formats.plural(len(channels), "MRI channel")
            silent.setdefault((f"{len(parts)} of {of} of", ", ".join(parts)), []).append(name)
    texts = [f"{count} {formats.listing(names)}: {parts}" for (count, parts), names in silent.items()]
    if len(run.parents) > 2 and texts:
        text = f"No signal in {'; in '.join(texts)}. Read their columns as noise."
        yield Alert(level="note", text=text, kind="no-signal")
        return
    for text in texts:
        yield Alert(level="note", text=f"No signal in {text}. Read their columns as noise.", kind="no-signal")
