"""From records to the sentence a reviewer reads first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Comparison, Contrast, Vigor
from darwin_mri.records.roles import named, role_label
from darwin_mri.report import formats
from darwin_mri.report.model import summary
from darwin_mri.report.model.findings import (
    COMPOSITE,
    Reading,
    against_better_parent,
    better_parent,
    contrast_with,
    measured_score,
    measured_scores,
    parents_of,
    read_contrast,
    words_of,
)
from darwin_mri.report.model.run_records import RunRecords
from darwin_mri.stats.limits import limit_sentence
from darwin_mri.translation import later, say, say_count
from darwin_mri.units import MIXED

Tone = Literal["gain", "level", "loss", "none"]
TONES: dict[Tone, str] = {  # the best first
    "gain": later("vigor"),
    "level": later("no vigor"),
    "loss": later("below"),
    "none": later("no verdict"),
}
STANDS: dict[Reading, str] = {
    "above": later("above {parents}"),
    "below": later("below {parents}"),
    "within noise of": later("within noise of {parents}"),
}


@dataclass(frozen=True)
class Verdict:
    """What a reader learns in the first minute.

    Attributes:
        tone: how to set the headline.
        headline: whether there is vigor, in one sentence.
        answers: (question, answer) pairs.
    """

    tone: Tone
    headline: str
    answers: tuple[tuple[str, str], ...] = ()


def judge(run: RunRecords) -> Verdict:
    """The verdict of a run, also of one that was never finished or never compared."""
    scanned = tuple(summary.scan_answers(run))
    if run.comparison is None:
        return Verdict("none", _without_comparison(run), scanned)
    comparison = run.comparison
    tone, headline = _headline(comparison)
    certainty = (
        summary.protocol_answer(comparison),
        _certainty(comparison),
        _nulls(comparison),
        summary.search_answer(run),
    )
    answers = (
        (say("Is the child better?"), _figures(comparison)),
        (say("How sure is that?"), " ".join(filter(None, certainty))),
        (say("On which benchmark?"), _benchmarks(comparison)),
        (say("Are the limits kept?"), " ".join(map(limit_sentence, comparison.limits))),
    )
    return Verdict(tone, headline, (*(pair for pair in answers if pair[1]), *scanned))


def _without_comparison(run: RunRecords) -> str:
    status = run.manifest.status if run.manifest else ""
    if status == "failed":
        return say("No verdict: the run failed before its models were compared.")
    if run.genome is not None:
        return say("No verdict: a genome was found, but the child was not compared with its parents.")
    if run.ledger:
        return say("No verdict: the search has not ended.")
    if run.scans or run.pairs:
        return say("Scanned, not bred: this run looks at its models and merges nothing.")
    return say("No verdict: this run holds nothing to judge yet.")


def _headline(comparison: Comparison) -> tuple[Tone, str]:
    tone, sentence = _vigor_headline(comparison)
    broken = [
        check.task if check.certain else say("{task} (within noise)", task=check.task)
        for check in comparison.limits
        if not check.kept
    ]
    if not broken:
        return tone, sentence
    limits = say_count(
        "The child breaks the limit on {tasks}.",
        "The child breaks the limits on {tasks}.",
        len(broken),
        tasks=formats.listing(broken),
    )
    return tone, f"{sentence} {limits}"


def _vigor_headline(comparison: Comparison) -> tuple[Tone, str]:
    vigor, words = comparison.vigor, words_of(comparison)
    if vigor is None:
        models = formats.listing([role_label(role) for role in ("child", *parents_of(comparison))])
        return "none", say(
            "Hybrid vigor cannot be judged: {models} were not all measured on the composite.", models=models
        )
    if vigor.claimed:
        return "gain", say("Hybrid vigor: the child beats {every}.", every=words.every)
    if vigor.better_parent_high is not None and vigor.better_parent_high < 0:
        return "loss", say("No hybrid vigor: the child falls below its {best}.", best=words.best)
    if vigor.better_parent > 0:
        return "level", say(
            "No hybrid vigor shown: the child leads its {best} by less than the noise.", best=words.best
        )
    if vigor.better_parent_high is None:
        return "level", say("No hybrid vigor: the child does not beat its {best}.", best=words.best)
    return "level", say(
        "No hybrid vigor: the child does not beat its {best}, and the gap is within noise.", best=words.best
    )


def _figures(comparison: Comparison) -> str:
    vigor = comparison.vigor
    child = measured_score(comparison, "child")
    better = better_parent(comparison)
    if vigor is None or child is None or better is None:
        return ""
    unit = child.unit
    return say(
        "On the composite the child scores {score}: {gain} against the {best}, {parent} ({parent_score}), and"
        " {mid_parent} against the parents' mean.",
        score=formats.score_value(child.value, unit),
        gain=_vigor_interval(vigor, unit),
        best=words_of(comparison).best,
        parent=named(better.role),
        parent_score=formats.score_value(better.value, unit),
        mid_parent=formats.gain_value(vigor.mid_parent, unit),
    ) + _sum_of_units(unit)


def _sum_of_units(unit: str) -> str:
    return " " + say("Its tasks have different units, so their weighted sum has none.") if unit == MIXED else ""


def _certainty(comparison: Comparison) -> str:
    """The test behind the claim, and the smallest difference it could have seen."""
    vigor, better = comparison.vigor, better_parent(comparison)
    if vigor is None or better is None:
        return ""
    text = ""
    if vigor.p_value is not None:
        text = say(
            "One-sided p of beating {every}: {p_value}.",
            every=words_of(comparison).every,
            p_value=formats.probability(vigor.p_value),
        )
    contrast = against_better_parent(comparison)
    if contrast is not None:
        least = formats.least_visible(contrast)
        text += " " + say(
            "Differences from {parent} under {least} could not have been seen.", parent=named(better.role), least=least
        )
    return text.strip()


def _vigor_interval(vigor: Vigor, unit: str) -> str:
    interval = formats.gain_interval(vigor.better_parent_low, vigor.better_parent_high, unit)
    return f"{formats.gain_value(vigor.better_parent, unit)} {interval}".rstrip()


def _benchmarks(comparison: Comparison) -> str:
    """One clause per benchmark: where the child stands to each parent, or that the benchmark is too small to tell."""
    names = list(dict.fromkeys((*comparison.headline, *(c.benchmark for c in comparison.contrasts))))
    clauses = []
    for name in names:
        by_parent = {c.other: c for c in comparison.contrasts if c.benchmark == name and c.against_parent}
        if name == COMPOSITE or not by_parent:
            continue
        every = words_of(comparison).every if len(by_parent) == len(parents_of(comparison)) else ""
        clause = _clause(by_parent, every)
        clauses.append(
            say("on {benchmark} {clause}", benchmark=name, clause=clause)
            if clauses
            else say("On {benchmark} the child is {clause}", benchmark=name, clause=clause)
        )
    return say("{clauses}.", clauses="; ".join(clauses)) if clauses else ""


def _clause(by_parent: Mapping[str, Contrast], every: str) -> str:
    """Where the child stands to parents; ``every`` names them all, empty where some are missing."""
    by_reading: dict[Reading, list[str]] = {}
    for parent, contrast in by_parent.items():
        by_reading.setdefault(read_contrast(contrast), []).append(named(parent))
    if len(by_reading) == 1 and every:
        text = say(STANDS[next(iter(by_reading))], parents=every)
    else:
        text = formats.listing(
            [say(STANDS[reading], parents=names) for reading, names in _shortened(by_reading, bool(every))]
        )
    if set(by_reading) == {"within noise of"}:
        least = min(by_parent.values(), key=lambda contrast: contrast.detectable)
        text += " " + say("(under {least} nothing could have been seen)", least=formats.least_visible(least))
    return text


def _shortened(by_reading: Mapping[Reading, list[str]], complete: bool) -> list[tuple[Reading, str]]:
    """Parents by reading; where all are there, the largest group of more than two comes last, as all others."""
    most, _ = max(by_reading.items(), key=lambda pair: len(pair[1]))
    if not complete or len(by_reading[most]) < 3:
        return [(reading, formats.listing(names)) for reading, names in by_reading.items()]
    listed: list[tuple[Reading, str]] = [
        (reading, formats.listing(names)) for reading, names in by_reading.items() if reading != most
    ]
    listed.append((most, say("all others")))
    return listed


def _nulls(comparison: Comparison) -> str:
    """Whether a null child does as well: then neither search nor another parent explains the result."""
    child = measured_score(comparison, "child")
    nulls = [s for s in measured_scores(comparison, COMPOSITE) if s.null is not None]
    if child is None or not nulls:
        return ""
    best = max(nulls, key=lambda s: s.value)
    contrast = contrast_with(comparison, best)
    score = formats.score_value(best.value, best.unit)
    if best.value >= child.value:
        return say(
            "The null child '{null}' scores as much ({score}): the search is not the reason.",
            null=best.null,
            score=score,
        )
    if contrast is not None and read_contrast(contrast) == "above":
        return say("It also beats its best null child, '{null}' ({score}).", null=best.null, score=score)
    return say("It cannot be told from its best null child, '{null}' ({score}).", null=best.null, score=score)
