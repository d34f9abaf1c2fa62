"""Hybrid vigor: two definitions from genetics, one claim, one sentence in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from darwin_mri.records import Contrast, Vigor
from darwin_mri.records.roles import PARENTS, Other, Parent, named, role_label
from darwin_mri.translation import say
from darwin_mri.units import bare_difference, difference_text, score_text

LEVEL = 0.05  # of every p-value of a comparison; an arena asks for a stricter one


class ParentWords(NamedTuple):
    """How a sentence speaks of the parents, by their number.

    Attributes:
        every: all of them.
        best: the one with the highest score, as a noun with its adjective.
    """

    every: str
    best: str


def parent_words(count: int) -> ParentWords:
    """``both parents`` and ``better parent`` of two, ``all parents`` and ``best parent`` of more."""
    if count > 2:
        return ParentWords(say("all parents"), say("best parent"))
    return ParentWords(say("both parents"), say("better parent"))


def judge_vigor(
    scores: Mapping[str, float], p_values: Mapping[str, float], contrasts: Mapping[Other, Contrast]
) -> Vigor:
    """Mid-parent and better-parent heterosis of the composite, and whether vigor may be claimed.

    Claimed only when the child beats every parent: an intersection-union test, whose p-value is the largest of theirs
    and needs no correction (Berger 1982). The 95 % interval of every difference must also lie above 0, which is a
    one-sided test at half the level of a two-sided one, as is usual where a one-sided claim is made (ICH E9, section
    5.5): sign flips alone claim too often where the child's differences are lopsided, with rare large losses.

    Args:
        scores: composite of the child and of each parent, by role.
        p_values: one-sided p-value of the child against each parent.
        contrasts: the child's composite contrast with each parent.

    Returns:
        the judgement, also as a sentence.
    """
    child = scores["child"]
    parents: list[Parent] = [role for role in PARENTS if role in scores]
    larger = max(p_values.values())
    contrast = contrasts[max(parents, key=lambda role: scores[role])]
    claimed = larger <= LEVEL and all(contrasts[role].low > 0 for role in parents)
    return Vigor(
        mid_parent=child - sum(scores[role] for role in parents) / len(parents),
        better_parent=contrast.difference,
        better_parent_low=contrast.low,
        better_parent_high=contrast.high,
        p_value=larger,
        claimed=claimed,
        sentence=vigor_sentence(scores, contrast, larger, claimed),
    )


def vigor_sentence(scores: Mapping[str, float], contrast: Contrast, p_value: float, claimed: bool) -> str:
    """The judgement in words.

    Args:
        scores: composite of the child and of each parent, by role.
        contrast: the child's with the parent that has the highest score.
        p_value: the largest of the one-sided ones.
        claimed: whether vigor is claimed.

    Returns:
        one sentence, in the language in use.
    """
    parents: list[Parent] = [role for role in PARENTS if role in scores]
    better = max(parents, key=lambda role: scores[role])
    every, best = parent_words(len(parents))
    unit = contrast.unit
    low, high = (bare_difference(v, unit) for v in (contrast.low, contrast.high))
    numbers = {
        "scores": ", ".join(f"{role_label(role)} {score_text(scores[role], unit)}" for role in ("child", *parents)),
        "gain": bare_difference(contrast.difference, unit) if unit else difference_text(contrast.difference, unit),
        "interval": f"[{low}, {high}]",
        "best": best,
        "parent": named(better),
        "p_value": f"{p_value:.2g}",
    }
    if len(parents) > 2:
        figures = say(
            "{scores} on the composite; {gain} {interval} against the {best}, {parent}; largest one-sided p ="
            " {p_value}",
            **numbers,
        )
    else:
        figures = say(
            "{scores} on the composite; {gain} {interval} against the {best}, {parent}; larger one-sided p = {p_value}",
            **numbers,
        )
    if claimed:
        return say("Hybrid vigor: the child beats {every} ({figures}).", every=every, figures=figures)
    if contrast.difference > 0:
        return say(
            "No hybrid vigor: the child scores above {every}, but within noise ({figures}).",
            every=every,
            figures=figures,
        )
    if scores["child"] == scores[better]:
        return say("No hybrid vigor: the child scores as the {best} does ({figures}).", best=best, figures=figures)
    return say("No hybrid vigor: the child does not beat the {best} ({figures}).", best=best, figures=figures)
