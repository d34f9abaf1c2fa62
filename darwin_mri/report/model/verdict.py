"""From records to the sentence a reviewer reads first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Comparison, Contrast, Vigor
from darwin_mri.report import formats
from darwin_mri.report.model import summary
from darwin_mri.report.model.findings import (
    COMPOSITE,
    against_better_parent,
    better_parent,
    contrast_with,
    measured_score,
    measured_scores,
    read_contrast,
)
from darwin_mri.report.model.run_records import RunRecords

Tone = Literal["gain", "level", "loss", "none"]


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
        ("Is the child better?", _figures(comparison)),
        ("How sure is that?", " ".join(filter(None, certainty))),
        ("On which benchmark?", _benchmarks(comparison)),
    )
    return Verdict(tone, headline, (*(pair for pair in answers if pair[1]), *scanned))


def _without_comparison(run: RunRecords) -> str:
    status = run.manifest.status if run.manifest else ""
    if status == "failed":
        return "No verdict: the run failed before its models were compared."
    if run.genome is not None:
        return "No verdict: a genome was found, but the child was not compared with its parents."
    if run.ledger:
        return "No verdict: the search has not ended."
    if run.father or run.mother or run.pair:
        return "Scanned, not bred: this run looks at its models and merges nothing."
    return "No verdict: this run holds nothing to judge yet."


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


def _figures(comparison: Comparison) -> str:
    vigor = comparison.vigor
    child = measured_score(comparison, "child")
    better = better_parent(comparison)
    if vigor is None or child is None or better is None:
        return ""
    return (
        f"On the composite the child scores {formats.percent(child.value)}: {_vigor_interval(vigor)} against the better"
        f" parent, the {better.role} ({formats.percent(better.value)}), and {formats.points(vigor.mid_parent)} against"
        " the parents' mean."
    )


def _certainty(comparison: Comparison) -> str:
    """The test behind the claim, and the smallest difference it could have seen."""
    vigor, better = comparison.vigor, better_parent(comparison)
    if vigor is None or better is None:
        return ""
    text = ""
    if vigor.p_value is not None:
        text = f"One-sided p of beating both parents: {formats.probability(vigor.p_value)}."
    contrast = against_better_parent(comparison)
    if contrast is not None:
        least = formats.fixed(100 * contrast.detectable, 1)
        text += f" Differences from the {better.role} under {least} pp could not have been seen."
    return text.strip()


def _vigor_interval(vigor: Vigor) -> str:
    interval = formats.points_interval(vigor.better_parent_low, vigor.better_parent_high)
    return f"{formats.points(vigor.better_parent)} {interval}".rstrip()


def _benchmarks(comparison: Comparison) -> str:
    """One clause per benchmark: where the child stands to each parent, or that the benchmark is too small to tell."""
    names = list(dict.fromkeys((*comparison.headline, *(c.benchmark for c in comparison.contrasts))))
    clauses = []
    for name in names:
        by_parent = {c.other: c for c in comparison.contrasts if c.benchmark == name and c.against_parent}
        if name == COMPOSITE or not by_parent:
            continue
        clauses.append(f"on {name} {'' if clauses else 'the child is '}{_clause(by_parent)}")
    return f"O{'; '.join(clauses)[1:]}." if clauses else ""


def _clause(by_parent: Mapping[str, Contrast]) -> str:
    readings = {parent: read_contrast(contrast) for parent, contrast in by_parent.items()}
    if len(set(readings.values())) == 1:
        reading = next(iter(readings.values()))
        parents = "both parents" if len(readings) == 2 else f"the {next(iter(readings))}"
        text = f"{reading} {parents}"
    else:
        text = formats.listing([f"{reading} the {parent}" for parent, reading in readings.items()])
    if set(readings.values()) == {"within noise of"}:
        least = min(contrast.detectable for contrast in by_parent.values())
        text += f" (under {formats.fixed(100 * least, 1)} pp nothing could have been seen)"
    return text


def _nulls(comparison: Comparison) -> str:
    """Whether a null child does as well: then neither search nor mother explains the result."""
    child = measured_score(comparison, "child")
    nulls = [s for s in measured_scores(comparison, COMPOSITE) if s.null is not None]
    if child is None or not nulls:
        return ""
    best = max(nulls, key=lambda s: s.value)
    contrast = contrast_with(comparison, best)
    score = formats.percent(best.value)
    if best.value >= child.value:
        return f"The null child '{best.null}' scores as much ({score}): the search is not the reason."
    if contrast is not None and read_contrast(contrast) == "above":
        return f"It also beats its best null child, '{best.null}' ({score})."
    return f"It cannot be told from its best null child, '{best.null}' ({score})."
