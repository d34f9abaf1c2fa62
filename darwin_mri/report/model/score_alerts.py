"""What a reviewer must know of the scores: those that cannot be, differences that contradict them, a narrow claim."""

from __future__ import annotations

from collections.abc import Iterator

from darwin_mri.records import Alert, Comparison, Contrast
from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.records.score import COMPOSITE, MIXED_PROTOCOLS
from darwin_mri.report import formats
from darwin_mri.report.model.findings import read_contrast, words_of
from darwin_mri.report.record_words import benchmark_label, evidence_label, split_label
from darwin_mri.stats.alerts import mixed_protocols
from darwin_mri.translation import ENGLISH, say, spoken

ROUNDING = 0.0005  # a fraction off by less than this prints alike


def score_alerts(comparison: Comparison) -> Iterator[Alert]:
    """What a reader must know before believing a comparison, beside the alerts that it holds itself."""
    yield from _narrow_claim(comparison)
    unmeasured = {s.evidence for s in comparison.scores} - {"measured"}
    if unmeasured:
        kinds = formats.listing([evidence_label(kind) for kind in sorted(unmeasured)]).capitalize()
        text = say(
            "{kinds} scores stand beside measured ones: hollow marks, no interval, never part of a test.", kinds=kinds
        )
        yield Alert(level="note", text=text, kind="unmeasured-scores")
    yield from _impossible_scores(comparison)
    yield from _contradictions(comparison)
    known = {alert.benchmark for alert in comparison.alerts if alert.kind == MIXED_PROTOCOLS}
    yield from (a for a in mixed_protocols(comparison.scores, COMPOSITE) if a.benchmark not in known)
    splits = {s.split for s in comparison.scores if s.measured_whole} - {"held-out"}
    if splits and not any(s.split == "held-out" for s in comparison.scores):
        names = formats.listing([split_label(split) for split in sorted(splits)])
        text = say("No score is held-out (split: {names}): the search may have seen these items.", names=names)
        yield Alert(level="warning", text=text, kind="not-held-out")


def _impossible_scores(comparison: Comparison) -> Iterator[Alert]:
    """Scores that do not follow from their own counts, and intervals that do not hold their own score."""
    for s in comparison.scores:
        part = s.benchmark if s.slice == "all" else f"{s.benchmark}, {s.slice}"
        name = say("{model} on {benchmark}", model=s.model, benchmark=part)
        if s.evidence == "measured" and s.correct is not None and s.n and abs(s.value - s.correct / s.n) > ROUNDING:
            yield Alert(
                level="serious",
                text=say(
                    "The score of {name} is impossible: {score} is not the mean of {n} items that add up to {sum}.",
                    name=name,
                    score=formats.score_value(s.value, s.unit),
                    n=s.n,
                    sum=formats.fixed(s.correct, 4),
                )
                if s.unit
                else say(
                    "The score of {name} is impossible: {score} is not {correct} right of {n}.",
                    name=name,
                    score=formats.score_value(s.value, s.unit),
                    correct=formats.fixed(s.correct, 1),
                    n=s.n,
                ),
                kind="impossible-score",
                benchmark=s.benchmark,
            )
        if s.low is not None and s.high is not None and not s.low - ROUNDING <= s.value <= s.high + ROUNDING:
            text = say(
                "The interval of {name} does not hold its own score ({score}).", name=name, score=formats.score(s)
            )
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
                text=say(
                    "The difference {contrast} on {benchmark} is given as {difference}, but the scores differ by"
                    " {gap}.",
                    contrast=_written(c),
                    benchmark=benchmark_label(c.benchmark),
                    difference=formats.gain_value(c.difference, c.unit),
                    gap=formats.gain_value(child.value - other.value, c.unit),
                ),
                kind="contradiction",
                benchmark=c.benchmark,
            )


def _written(contrast: Contrast) -> str:
    """A contrast's name with a true minus sign."""
    if spoken() == ENGLISH or contrast.other not in PARENTS:
        return contrast.name.replace("-", formats.MINUS)
    return f"{role_label('child')} {formats.MINUS} {role_label(contrast.other)}"


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
                text=say(
                    "A narrow claim: vigor holds by the one-sided test over {every} (p {p_value}), but {contrast} on"
                    " the composite is within noise two-sided (Holm p {p_holm}).",
                    every=every,
                    p_value=formats.probability(vigor.p_value),
                    contrast=_written(c),
                    p_holm=formats.probability(c.p_holm),
                ),
                kind="narrow-claim",
            )
