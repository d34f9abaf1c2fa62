"""Sentences that records hold in English, told again in the language of a page where their numbers are there too.

A sentence is replaced only when the same rule writes, in English, exactly what the record holds; any other stays as it
was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from darwin_mri.records import Alert, ArenaResult, Comparison
from darwin_mri.records.score import COMPOSITE
from darwin_mri.report.model.findings import against_better_parent, measured_score, parents_of
from darwin_mri.stats.alerts import find_alerts
from darwin_mri.stats.arena_vigor import judge_arena
from darwin_mri.stats.limits import limit_alerts
from darwin_mri.stats.vigor import vigor_sentence
from darwin_mri.translation import ENGLISH, speaking, spoken


def retold_vigor(comparison: Comparison) -> str:
    """The sentence on hybrid vigor; empty where there is none."""
    vigor, contrast = comparison.vigor, against_better_parent(comparison)
    if vigor is None:
        return ""
    known = {role: measured_score(comparison, role) for role in ("child", *parents_of(comparison))}
    scores = {role: score.value for role, score in known.items() if score is not None}
    if contrast is None or vigor.p_value is None or len(scores) < len(known):
        return vigor.sentence
    p_value = vigor.p_value
    told = _translations(lambda: [vigor_sentence(scores, contrast, p_value, vigor.claimed)])
    return told.get(vigor.sentence, vigor.sentence)


def retold_alerts(comparison: Comparison) -> tuple[Alert, ...]:
    """The alerts of a comparison."""
    measured = [score for score in comparison.scores if score.evidence == "measured"]
    others = [score for score in comparison.scores if score.evidence != "measured"]

    def tell() -> list[str]:
        found = find_alerts(measured, others, comparison.contrasts, COMPOSITE, comparison.benchmarks)
        return [alert.text for alert in (*limit_alerts(comparison.limits), *found)]

    told = _translations(tell)
    return tuple(alert.model_copy(update={"text": told.get(alert.text, alert.text)}) for alert in comparison.alerts)


def retold_arena(result: ArenaResult) -> str:
    """The sentence on an arena."""
    told = _translations(lambda: [judge_arena(result.comparison, result.rows, result.best, len(result.seeds))[1]])
    return told.get(result.sentence, result.sentence)


def _translations(tell: Callable[[], list[str]]) -> Mapping[str, str]:
    """English sentence -> the same in the language in use; nothing where that is English."""
    if spoken() == ENGLISH:
        return {}
    with speaking(ENGLISH):
        english = tell()
    return dict(zip(english, tell(), strict=True))
