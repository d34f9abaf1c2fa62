"""From records to the sentence a reviewer reads first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from darwin_mri.records import Comparison, Contrast, Score, Vigor
from darwin_mri.report import glance, words
from darwin_mri.report.run import Run

LEVEL = 0.05

Tone = Literal["gain", "level", "loss", "none"]
Reading = Literal["above", "below", "within noise of"]


@dataclass(frozen=True)
class Verdict:
    """``headline`` says whether there is vigor; ``answers`` are (question, answer) pairs for the first minute; ``tone`` says how
    to set it."""

    tone: Tone
    headline: str
    answers: tuple[tuple[str, str], ...] = ()


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
    seen = tuple(glance.scan_answers(run))
    if run.comparison is None:
        return Verdict("none", _without_comparison(run), seen)
    comparison = run.comparison
    tone, headline = _headline(comparison)
    sure = (
        glance.protocol_answer(comparison),
        _certainty(comparison),
        _nulls(comparison),
        glance.search_answer(run),
    )
    measured_ = (
        ("Is the child better?", _figures(comparison)),
        ("How sure is that?", " ".join(filter(None, sure))),
        ("On which benchmark?", _benchmarks(comparison)),
    )
    return Verdict(tone, headline, (*(pair for pair in measured_ if pair[1]), *seen))


def _without_comparison(run: Run) -> str:
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


def _certainty(comparison: Comparison) -> str:
    """The test behind the claim, and the smallest difference it could have seen."""
    vigor, better = comparison.vigor, better_parent(comparison)
    if vigor is None or better is None:
        return ""
    text = (
        f"One-sided p of beating both parents: {words.probability(vigor.p_value)}." if vigor.p_value is not None else ""
    )
    contrast = next(
        (c for c in comparison.contrasts if (c.benchmark, c.name) == ("composite", f"child - {better.role}")), None
    )
    if contrast is not None:
        text += f" Differences from the {better.role} under {words.fixed(100 * contrast.detectable, 1)} pp could not have been seen."
    return text.strip()


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
