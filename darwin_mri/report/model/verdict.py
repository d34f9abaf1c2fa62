"""From records to the sentence a reviewer reads first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Comparison, Contrast, Vigor
from darwin_mri.records.roles import named
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
from darwin_mri.units import MIXED

Tone = Literal["gain", "level", "loss", "none"]
TONES: dict[Tone, str] = {"gain": "vigor", "level": "no vigor", "loss": "below", "none": "no verdict"}  # the best first


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
        ("Are the limits kept?", " ".join(map(limit_sentence, comparison.limits))),
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
    if run.scans or run.pairs:
        return "Scanned, not bred: this run looks at its models and merges nothing."
    return "No verdict: this run holds nothing to judge yet."


def _headline(comparison: Comparison) -> tuple[Tone, str]:
    tone, sentence = _vigor_headline(comparison)
    broken = [
        check.task if check.certain else f"{check.task} (within noise)" for check in comparison.limits if not check.kept
    ]
    if not broken:
        return tone, sentence
    which = "the limit" if len(broken) == 1 else "the limits"
    return tone, f"{sentence} The child breaks {which} on {formats.listing(broken)}."


def _vigor_headline(comparison: Comparison) -> tuple[Tone, str]:
    vigor, words = comparison.vigor, words_of(comparison)
    if vigor is None:
        models = formats.listing(["child", *parents_of(comparison)])
        return "none", f"Hybrid vigor cannot be judged: {models} were not all measured on the composite."
    if vigor.claimed:
        return "gain", f"Hybrid vigor: the child beats {words.every}."
    if vigor.better_parent_high is not None and vigor.better_parent_high < 0:
        return "loss", f"No hybrid vigor: the child falls below its {words.best} parent."
    if vigor.better_parent > 0:
        return "level", f"No hybrid vigor shown: the child leads its {words.best} parent by less than the noise."
    if vigor.better_parent_high is None:
        return "level", f"No hybrid vigor: the child does not beat its {words.best} parent."
    return "level", f"No hybrid vigor: the child does not beat its {words.best} parent, and the gap is within noise."


def _figures(comparison: Comparison) -> str:
    vigor = comparison.vigor
    child = measured_score(comparison, "child")
    better = better_parent(comparison)
    if vigor is None or child is None or better is None:
        return ""
    unit = child.unit
    return (
        f"On the composite the child scores {formats.score_value(child.value, unit)}: {_vigor_interval(vigor, unit)}"
        f" against the {words_of(comparison).best} parent, {named(better.role)}"
        f" ({formats.score_value(better.value, unit)}), and {formats.gain_value(vigor.mid_parent, unit)} against the"
        f" parents' mean.{_sum_of_units(unit)}"
    )


def _sum_of_units(unit: str) -> str:
    return " Its tasks have different units, so their weighted sum has none." if unit == MIXED else ""


def _certainty(comparison: Comparison) -> str:
    """The test behind the claim, and the smallest difference it could have seen."""
    vigor, better = comparison.vigor, better_parent(comparison)
    if vigor is None or better is None:
        return ""
    text = ""
    if vigor.p_value is not None:
        text = f"One-sided p of beating {words_of(comparison).every}: {formats.probability(vigor.p_value)}."
    contrast = against_better_parent(comparison)
    if contrast is not None:
        least = formats.least_visible(contrast)
        text += f" Differences from {named(better.role)} under {least} could not have been seen."
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
        clauses.append(f"on {name} {'' if clauses else 'the child is '}{_clause(by_parent, every)}")
    return f"O{'; '.join(clauses)[1:]}." if clauses else ""


def _clause(by_parent: Mapping[str, Contrast], every: str) -> str:
    """Where the child stands to parents; ``every`` names them all, empty where some are missing."""
    by_reading: dict[Reading, list[str]] = {}
    for parent, contrast in by_parent.items():
        by_reading.setdefault(read_contrast(contrast), []).append(named(parent))
    if len(by_reading) == 1 and every:
        text = f"{next(iter(by_reading))} {every}"
    else:
        text = formats.listing([f"{reading} {names}" for reading, names in _shortened(by_reading, bool(every))])
    if set(by_reading) == {"within noise of"}:
        least = min(by_parent.values(), key=lambda contrast: contrast.detectable)
        text += f" (under {formats.least_visible(least)} nothing could have been seen)"
    return text


def _shortened(by_reading: Mapping[Reading, list[str]], complete: bool) -> list[tuple[str, str]]:
    """Parents by reading; where all are there, the largest group of more than two comes last, as all others."""
    most, _ = max(by_reading.items(), key=lambda pair: len(pair[1]))
    if not complete or len(by_reading[most]) < 3:
        return [(reading, formats.listing(names)) for reading, names in by_reading.items()]
    listed = [(reading, formats.listing(names)) for reading, names in by_reading.items() if reading != most]
    return [*listed, (most, "all others")]


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
        return f"The null child '{best.null}' scores as much ({score}): the search is not the reason."
    if contrast is not None and read_contrast(contrast) == "above":
        return f"It also beats its best null child, '{best.null}' ({score})."
    return f"It cannot be told from its best null child, '{best.null}' ({score})."
