"""From records to the sentence a reviewer reads first, and to what that reviewer must know before believing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Alert, Channel, Comparison, Contrast, Score, Vigor
from darwin_mri.report import words
from darwin_mri.report.run import Run

LEVEL = 0.05
GAP = 0.03  # a fitness lost on fresh items above this is a warning: the search has learned its items

Tone = Literal["gain", "level", "loss", "none"]
Reading = Literal["above", "below", "within noise of"]


@dataclass(frozen=True)
class Verdict:
    """``headline`` says whether there is vigor; ``detail`` what was measured; ``tone`` how to set it."""

    tone: Tone
    headline: str
    detail: str


@dataclass(frozen=True)
class Missing:
    """A part that is not in the run: its file, what cannot be shown, and the command that makes it."""

    file: str
    what: str
    command: str


def read_contrast(contrast: Contrast) -> Reading:
    """What a contrast says: above or below only when its interval and its (Holm-adjusted, where given) p-value both say so."""
    p_value = contrast.p_value if contrast.p_holm is None else contrast.p_holm
    if p_value <= LEVEL and contrast.low > 0:
        return "above"
    if p_value <= LEVEL and contrast.high < 0:
        return "below"
    return "within noise of"


def judge(run: Run) -> Verdict:
    """The verdict of a run, also of one that was never finished or never compared."""
    if run.comparison is None:
        return _without_comparison(run)
    comparison = run.comparison
    tone, headline = _headline(comparison)
    detail = " ".join(filter(None, (_figures(comparison), _benchmarks(comparison), _nulls(comparison))))
    return Verdict(tone, headline, detail)


def _without_comparison(run: Run) -> Verdict:
    status = run.manifest.status if run.manifest else ""
    if status == "failed":
        return Verdict("none", "No verdict: the run failed.", "It stopped before its models were compared.")
    if run.genome is not None:
        return Verdict("none", "No verdict: a genome was found, but the child was not compared with its parents.", "")
    if run.ledger:
        return Verdict("none", "No verdict: the search has not ended.", "")
    if run.father or run.mother or run.pair:
        return Verdict("none", "Scanned, not bred: this run looks at its models and merges nothing.", "")
    return Verdict("none", "No verdict: this run holds nothing to judge yet.", "")


def _headline(comparison: Comparison) -> tuple[Tone, str]:
    vigor = comparison.vigor
    if vigor is None:
        return "none", "Hybrid vigor cannot be judged: child, father and mother were not all measured on the composite."
    if vigor.claimed:
        return "gain", "Hybrid vigor: the child beats both parents."
    if vigor.better_parent_high is not None and vigor.better_parent_high < 0:
        return "loss", "No hybrid vigor: the child falls below its better parent."
    if vigor.better_parent > 0:
        return "level", "No hybrid vigor shown: the child leads its better parent by less than the noise."
    if vigor.better_parent_high is None:
        return "level", "No hybrid vigor: the child does not beat its better parent."
    return "level", "No hybrid vigor: the child does not beat its better parent, and the gap is within noise."


def better_parent(comparison: Comparison, benchmark: str = "composite") -> Score | None:
    """The parent with the higher measured score, or None when one of them was not measured."""
    found = [s for s in measured(comparison, benchmark) if s.role in ("father", "mother")]
    return max(found, key=lambda s: s.value) if len({s.role for s in found}) == 2 else None


def measured(comparison: Comparison, benchmark: str) -> list[Score]:
    """Measured scores on the whole of a benchmark, those on the search's own items left out."""
    found = [s for s in comparison.scores if s.benchmark == benchmark and s.slice == "all" and s.evidence == "measured"]
    return [s for s in found if s.split != "search"]


def _figures(comparison: Comparison) -> str:
    vigor = comparison.vigor
    child = next((s for s in measured(comparison, "composite") if s.role == "child"), None)
    better = better_parent(comparison)
    if vigor is None or child is None or better is None:
        return ""
    return (
        f"On the composite the child scores {words.percent(child.value)}: {_vigor_interval(vigor)} against the better parent,"
        f" the {better.role} ({words.percent(better.value)}), and {words.points(vigor.mid_parent)} against the parents' mean."
    )


def _vigor_interval(vigor: Vigor) -> str:
    interval = words.points_interval(vigor.better_parent_low, vigor.better_parent_high)
    return f"{words.points(vigor.better_parent)} {interval}".rstrip()


def _benchmarks(comparison: Comparison) -> str:
    """One clause per benchmark: where the child stands to each parent, or that the benchmark is too small to tell."""
    names = list(dict.fromkeys((*comparison.headline, *(c.benchmark for c in comparison.contrasts))))
    clauses = []
    for name in names:
        by_parent = {
            parent: contrast
            for contrast in comparison.contrasts
            for parent in ("father", "mother")
            if contrast.benchmark == name and contrast.name == f"child - {parent}"
        }
        if name == "composite" or not by_parent:
            continue
        clauses.append(f"on {name} {'' if clauses else 'the child is '}{_clause(by_parent)}")
    return f"O{'; '.join(clauses)[1:]}." if clauses else ""


def _clause(by_parent: dict[str, Contrast]) -> str:
    readings = {parent: read_contrast(contrast) for parent, contrast in by_parent.items()}
    if len(set(readings.values())) == 1:
        reading = next(iter(readings.values()))
        who = "both parents" if len(readings) == 2 else f"the {next(iter(readings))}"
        text = f"{reading} {who}"
    else:
        text = words.listing([f"{reading} the {parent}" for parent, reading in readings.items()])
    if set(readings.values()) == {"within noise of"}:
        least = min(contrast.detectable for contrast in by_parent.values())
        text += f" (under {words.fixed(100 * least, 1)} pp nothing could have been seen)"
    return text


def _nulls(comparison: Comparison) -> str:
    """Whether a null child does as well: then neither search nor mother explains the result."""
    child = next((s for s in measured(comparison, "composite") if s.role == "child"), None)
    nulls = [s for s in measured(comparison, "composite") if s.role.startswith("null:")]
    if child is None or not nulls:
        return ""
    best = max(nulls, key=lambda s: s.value)
    name = best.role.removeprefix("null:")
    contrast = next(
        (c for c in comparison.contrasts if c.benchmark == "composite" and c.name == f"child - {best.role}"), None
    )
    if best.value >= child.value:
        return f"The null child '{name}' scores as much ({words.percent(best.value)}): the search is not the reason."
    if contrast is not None and read_contrast(contrast) == "above":
        return f"It also beats its best null child, '{name}' ({words.percent(best.value)})."
    return f"It cannot be told from its best null child, '{name}' ({words.percent(best.value)})."


def find_missing(run: Run) -> tuple[Missing, ...]:
    """Records that are not there, with what they would show and how to get them."""
    breed, scan = "darwin-mri breed", "darwin-mri scan FATHER --against MOTHER --out RUN"
    parts = (
        (run.manifest, "manifest.json", "provenance", breed),
        (run.inputs, "inputs.json", "the parents' files and digests", breed),
        (run.father, "scan/father.json", "the father's MRI", "darwin-mri scan FATHER --out RUN"),
        (run.mother, "scan/mother.json", "the mother's MRI", scan),
        (run.pair, "scan/pair.json", "FFN similarity and the layer map", scan),
        (run.prior, "prior.json", "the prior, frozen layers and trust", scan),
        (run.ledger or None, "ledger.jsonl", "the evolution", breed),
        (run.genome, "genome.json", "the genome", breed),
        (run.comparison, "comparison.json", "scores, contrasts and the verdict", breed),
        (run.health, "health.json", "the child's health check", "darwin-mri check CHILD --father FATHER"),
        (run.child, "child.json", "the child's files", "darwin-mri merge --genome FILE --out DIR"),
    )
    return tuple(Missing(file, what, command) for record, file, what, command in parts if record is None)


def find_alerts(run: Run) -> tuple[Alert, ...]:
    """Everything a reader must know before reading on, the serious first, each said once."""
    found = [
        *_run_alerts(run), *_health_alerts(run), *(run.comparison.alerts if run.comparison else ()),
        *_score_alerts(run), *_search_alerts(run), *_scan_alerts(run),
    ]  # fmt: skip
    missing = find_missing(run)
    if missing:
        parts = "; ".join(f"{part.what} ({part.file})" for part in missing)
        found.append(Alert(level="note", text=f"Not in this run: {parts}."))
    unique = {alert.text: alert for alert in reversed(found)}
    order = ("serious", "warning", "note")
    return tuple(sorted((a for a in found if unique[a.text] is a), key=lambda alert: order.index(alert.level)))


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
    elsewhere = {s.split for s in scores if s.evidence == "measured" and s.slice == "all"} - {"held-out"}
    if elsewhere and not any(s.split == "held-out" for s in scores):
        kinds = words.listing(sorted(elsewhere))
        yield Alert(
            level="warning", text=f"No score is held-out (split: {kinds}): the search may have seen these items."
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
