"""What a reviewer must know before believing the verdict: failures, silence, gaps, and what is not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Alert, Channel, Comparison, Score
from darwin_mri.report import words
from darwin_mri.report.run import Run
from darwin_mri.report.verdict import read_contrast

ROUNDING = 0.0005  # a fraction off by less than this prints alike
GAP = 0.03  # a fitness lost on fresh items above this is a warning: the search has learned its items


@dataclass(frozen=True)
class Missing:
    """A part that is not in the run: its file, what cannot be shown, and the command that makes it."""

    file: str
    what: str
    command: str


def find_missing(run: Run) -> tuple[Missing, ...]:
    """Records that are not there, with what they would show and how to get them."""
    bred = run.ledger or run.genome or run.child
    breed = "darwin-mri breed --resume RUN" if bred and run.manifest else "darwin-mri breed --config FILE"
    # Never for a bred run: --overwrite would clear what the breeding wrote.
    scan = breed if bred else "darwin-mri scan FATHER --against MOTHER --out RUN --overwrite"
    parts = (
        (run.manifest, "manifest.json", "provenance", breed),
        (run.inputs, "inputs.json", "the parents' files and digests", breed),
        (run.father, "scan/father.json", "the father's MRI", scan),
        (run.mother, "scan/mother.json", "the mother's MRI", scan),
        (run.pair, "scan/pair.json", "FFN similarity and the layer map", scan),
        (run.prior, "prior.json", "the prior, frozen layers and trust", scan),
        (run.ledger or None, "ledger.jsonl", "the evolution", breed),
        (run.genome, "genome.json", "the genome", breed),
        (run.comparison, "comparison.json", "scores, contrasts and the verdict", breed),
        (run.answers or None, "answers/", "items won and lost", breed),
        (run.health, "health.json", "the child's health check", breed),
        (run.child, "child.json", "the child's files", breed),
    )
    return tuple(Missing(file, what, command) for record, file, what, command in parts if record is None)


def find_alerts(run: Run) -> tuple[Alert, ...]:
    """Everything a reader must know before reading on, the serious first, each said once."""
    found = [
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
        found.append(Alert(level="note", text=f"Not in this run: {parts}."))
    unique = {alert.text: alert for alert in reversed(found)}  # a text said twice keeps its first level
    kept = dict.fromkeys(alert.text for alert in found)
    order = ("serious", "warning", "note")
    return tuple(sorted((unique[text] for text in kept), key=lambda alert: order.index(alert.level)))


def _run_alerts(run: Run) -> Iterator[Alert]:
    for problem in run.problems:
        yield Alert(level="serious", text=f"A record cannot be read and is left out: {problem}.")
    if run.manifest is None:
        return
    note = f": {run.manifest.note}" if run.manifest.note else ""
    if run.manifest.status == "failed":
        yield Alert(level="serious", text=f"The run failed{note}.")
    elif run.manifest.status in ("running", "interrupted"):
        yield Alert(level="warning", text=f"The run is not complete (status {run.manifest.status}){note}.")
    if run.manifest.dirty:
        yield Alert(
            level="note",
            text="The code had changes that its commit does not hold: the commit alone cannot repeat this run.",
        )


def _health_alerts(run: Run) -> Iterator[Alert]:
    if run.health is not None and not run.health.passed:
        gates = [
            f"{gate.name} is {_gate_value(gate.value)}, limit {gate.limit}"
            for gate in run.health.gates
            if not gate.passed
        ]
        yield Alert(
            level="serious", text=f"The child failed its health check: {'; '.join(gates) or 'no gate is named'}."
        )
    if run.child is not None and not run.child.changed:
        yield Alert(level="serious", text="No tensor of the child differs from the father's: the child is a copy.")


def _gate_value(value: float | str) -> str:
    return value if isinstance(value, str) else words.compact(value)


def _score_alerts(run: Run) -> Iterator[Alert]:
    scores = run.comparison.scores if run.comparison else ()
    yield from _narrow_claim(run.comparison)
    unmeasured = {s.evidence for s in scores} - {"measured"}
    if unmeasured:
        kinds = words.listing(sorted(unmeasured)).capitalize()
        yield Alert(
            level="note",
            text=f"{kinds} scores stand beside measured ones: hollow marks, no interval, never part of a test.",
        )
    if run.comparison is not None:
        yield from _contradictions(run.comparison)
        yield from _protocols(run.comparison)
    elsewhere = {s.split for s in scores if s.evidence == "measured" and s.slice == "all"} - {"held-out"}
    if elsewhere and not any(s.split == "held-out" for s in scores):
        kinds = words.listing(sorted(elsewhere))
        yield Alert(
            level="warning", text=f"No score is held-out (split: {kinds}): the search may have seen these items."
        )


def _contradictions(comparison: Comparison) -> Iterator[Alert]:
    """Scores that do not follow from their own counts, and differences that do not follow from the scores."""
    for s in comparison.scores:
        where = f"{s.model} on {s.benchmark}{'' if s.slice == 'all' else f', {s.slice}'}"
        if s.evidence == "measured" and s.correct is not None and s.n and abs(s.value - s.correct / s.n) > ROUNDING:
            yield Alert(
                level="serious",
                text=f"The score of {where} is impossible: {words.percent(s.value)} is not {words.fixed(s.correct, 1)} right of {s.n}.",
            )
        if s.low is not None and s.high is not None and not s.low - ROUNDING <= s.value <= s.high + ROUNDING:
            yield Alert(
                level="serious", text=f"The interval of {where} does not hold its own score ({words.score(s)})."
            )
    known = {(s.role, s.benchmark): s for s in comparison.scores if s.slice == "all" and s.evidence == "measured"}
    for c in comparison.contrasts:
        child, other = known.get(("child", c.benchmark)), known.get((c.name.removeprefix("child - "), c.benchmark))
        if child is None or other is None or not child.n == other.n == c.n:
            continue  # not on the same items
        if abs(c.difference - (child.value - other.value)) > 2 * ROUNDING:
            yield Alert(
                level="serious",
                text=f"The difference {c.name.replace('-', words.MINUS)} on {c.benchmark} is given as {words.points(c.difference)},"
                f" but the scores differ by {words.points(child.value - other.value)}.",
            )


def _protocols(comparison: Comparison) -> Iterator[Alert]:
    """Mixed protocols within a benchmark, unless the comparison has said so itself."""
    known: dict[str, dict[str, None]] = {}
    for s in comparison.scores:
        if s.slice == "all" and s.protocol and "unknown" not in s.protocol.lower():
            known.setdefault(s.benchmark, {})[s.protocol] = None
    said = [alert.text for alert in comparison.alerts if "protocol" in alert.text]
    for benchmark, protocols in known.items():
        if len(protocols) > 1 and not any(benchmark in text for text in said):
            yield Alert(
                level="warning",
                text=f"Scores on {benchmark} come from different protocols ({'; '.join(protocols)}): do not subtract them.",
            )


def _narrow_claim(comparison: Comparison | None) -> Iterator[Alert]:
    """Vigor is claimed one-sided over both parents at once; say so where the two-sided contrast alone would not carry it."""
    if comparison is None or comparison.vigor is None or not comparison.vigor.claimed:
        return
    parents = ("child - father", "child - mother")
    weak = [
        c
        for c in comparison.contrasts
        if c.benchmark == "composite" and c.name in parents and read_contrast(c) != "above"
    ]
    for contrast in weak:
        yield Alert(
            level="warning",
            text=f"A narrow claim: vigor holds by the one-sided test over both parents (p {words.probability(comparison.vigor.p_value)}),"
            f" but {contrast.name.replace('-', words.MINUS)} on the composite is within noise two-sided"
            f" (Holm p {words.probability(contrast.p_holm)}).",
        )


def _search_alerts(run: Run) -> Iterator[Alert]:
    failed = [line for line in run.ledger if line.status == "failed"]
    if failed:
        reason, times = Counter(line.reason or "no reason given" for line in failed).most_common(1)[0]
        level: Literal["serious", "warning"] = "serious" if len(failed) == len(run.ledger) else "warning"
        yield Alert(
            level=level,
            text=f"{len(failed)} of {words.plural(len(run.ledger), 'evaluation')} failed and got the worst rank;"
            f" most often: {reason} ({times}).",
        )
    genome = run.genome
    if genome is not None and genome.search_score is not None and genome.retest_score is not None:
        gap = genome.search_score - genome.retest_score
        text = (
            f"The winner's fitness was {words.fixed(genome.search_score, 3)} on search items and"
            f" {words.fixed(genome.retest_score, 3)} on fresh ones: a gap of {words.signed(gap, 3)}."
        )
        yield Alert(level="warning" if gap > GAP else "note", text=text)
    yield from _split_gaps(run.comparison.scores if run.comparison else ())


def _split_gaps(scores: Iterable[Score]) -> Iterator[Alert]:
    child = [s for s in scores if s.role == "child" and s.slice == "all" and s.evidence == "measured"]
    by_split = {(s.benchmark, s.split): s.value for s in child}
    for benchmark in dict.fromkeys(s.benchmark for s in child):
        search, held_out = by_split.get((benchmark, "search")), by_split.get((benchmark, "held-out"))
        if search is not None and held_out is not None and search - held_out > GAP:
            yield Alert(
                level="warning",
                text=f"On {benchmark} the child has {words.percent(search)} on search items but {words.percent(held_out)} on"
                f" held-out ones ({words.points(held_out - search)}).",
            )


def _scan_alerts(run: Run) -> Iterator[Alert]:
    for name, record in (("father", run.father), ("mother", run.mother), ("pair", run.pair)):
        if record is not None:
            yield from _silent_channels(name, record.channels)
    if run.prior is None:
        return
    if not run.prior.informative:
        note = f" ({run.prior.note})" if run.prior.note else ""
        yield Alert(level="warning", text=f"The prior carries no information: the search started flat{note}.")
    if run.prior.layers and len(run.prior.frozen) == len(run.prior.layers):
        yield Alert(level="serious", text="Every layer is frozen: the child can only be the father.")


def _silent_channels(name: str, channels: dict[str, Channel]) -> Iterator[Alert]:
    silent = {key: channel for key, channel in channels.items() if not channel.informative}
    if silent:
        parts = [
            f"{key} (reliability {words.fixed(c.reliability)}, p {words.probability(c.p_value)})"
            for key, c in silent.items()
        ]
        yield Alert(
            level="note",
            text=f"No signal in {len(silent)} of {words.plural(len(channels), 'MRI channel')} of the {name}: {', '.join(parts)}."
            " Read their columns as noise.",
        )
