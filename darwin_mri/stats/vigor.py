"""Hybrid vigor: two definitions from genetics, one claim, one sentence in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from darwin_mri.records import Contrast, Vigor
from darwin_mri.records.roles import Other

LEVEL = 0.05


def judge_vigor(
    scores: Mapping[str, float], p_values: Mapping[str, float], contrasts: Mapping[Other, Contrast]
) -> Vigor:
    """Mid-parent and better-parent heterosis of the composite, and whether vigor may be claimed.

    Claimed only when the child beats both parents: an intersection-union test, whose p-value is the larger of the two
    and needs no correction (Berger 1982).

    Args:
        scores: composite of child, father and mother.
        p_values: one-sided p-value of the child against each parent.
        contrasts: the child's composite contrast with each parent.

    Returns:
        the judgement, also as a sentence.
    """
    child, father, mother = scores["child"], scores["father"], scores["mother"]
    better: Other = "mother" if mother > father else "father"
    contrast = contrasts[better]
    larger = max(p_values.values())
    claimed = contrast.difference > 0 and larger <= LEVEL
    low, high = _signed(contrast.low), _signed(contrast.high)
    figures = (
        f"child {_percent(child)}, father {_percent(father)}, mother {_percent(mother)} on the composite;"
        f" {_signed(contrast.difference)} points [{low}, {high}] against the better parent, the {better};"
        f" larger one-sided p = {larger:.2g}"
    )
    if claimed:
        sentence = f"Hybrid vigor: the child beats both parents ({figures})."
    elif contrast.difference > 0:
        sentence = f"No hybrid vigor: the child scores above both parents, but within noise ({figures})."
    elif child == scores[better]:
        sentence = f"No hybrid vigor: the child scores as the better parent does ({figures})."
    else:
        sentence = f"No hybrid vigor: the child does not beat the better parent ({figures})."
    return Vigor(
        mid_parent=child - (father + mother) / 2,
        better_parent=contrast.difference,
        better_parent_low=contrast.low,
        better_parent_high=contrast.high,
        p_value=larger,
        claimed=claimed,
        sentence=sentence,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
