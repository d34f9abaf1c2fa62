"""How charts of scores name their axes: only values of one unit share a chart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from darwin_mri.records import Contrast, Score
from darwin_mri.report.record_words import benchmark_label
from darwin_mri.translation import later, say
from darwin_mri.units import MIXED

NEGATED = later("NLL and KL divergence are shown negated, so that higher is better for every score.")
KNOWN = {"nats/byte": later("Negated NLL per byte"), "nats/token": later("Negated KL divergence per token")}


def chart_key(key: str, unit: str) -> str:
    """A chart's id in the page: its own for each unit."""
    return f"{key}-{re.sub(r'[^a-z0-9]+', '-', unit.lower())}" if unit else key


def has_negated(scores: Iterable[Score]) -> bool:
    """Whether any of these scores is a negated NLL or KL divergence."""
    return any(score.unit in KNOWN for score in scores)


def task(name: str, unit: str) -> str:
    """A benchmark's name with the unit that its bare numbers have: ``ko, nats/byte``."""
    shown = benchmark_label(name)
    return shown if unit in ("", MIXED) else f"{shown}, {unit}"


def value_words(unit: str, accuracies: bool = True) -> str:
    """What the scores of a chart are, as the beginning of its title.

    Args:
        unit: of the scores.
        accuracies: whether those that are fractions are shares of right answers.

    Returns:
        A noun.
    """
    if not unit:
        return say("Accuracy") if accuracies else say("Scores")
    if unit == MIXED:
        return say("Composite")
    return say(KNOWN[unit]) if unit in KNOWN else say("Scores in {unit}", unit=unit)


def score_axis(unit: str, accuracies: bool = True) -> str:
    """What stands under an axis of scores; arguments as ``value_words``."""
    if not unit:
        return say("per cent right") if accuracies else say("per cent")
    return say("{unit}, higher is better", unit=say("weighted sum") if unit == MIXED else unit)


def gain_words(unit: str) -> str:
    """The unit of differences of scores."""
    return say("percentage points") if not unit else say("weighted sum") if unit == MIXED else unit


def in_unit(unit: str) -> str:
    """The end of a title of differences that are not in points; empty for those that are."""
    return say(", in {unit}", unit=unit) if unit not in ("", MIXED) else ""


def scale(unit: str) -> float:
    """What drawn values are multiplied by: fractions become per cent."""
    return 1.0 if unit else 100.0


def counts(contrast: Contrast) -> str:
    """Items won and lost; of scores that are no fractions, items on which the child's is higher and lower."""
    better, worse = contrast.wins, contrast.losses
    if not contrast.unit:
        return say("{better} won, {worse} lost", better=better, worse=worse)
    return say("{better} higher, {worse} lower", better=better, worse=worse)
