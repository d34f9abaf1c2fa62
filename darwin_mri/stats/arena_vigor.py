"""What an arena shows: whether the best arm's child beats the parents and every null, and the same in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.records import CHILD, ArenaRow, Comparison, Contrast
from darwin_mri.records.arena import PARENTS_ARM
from darwin_mri.records.roles import named
from darwin_mri.records.score import COMPOSITE
from darwin_mri.translation import say

LEVEL = 0.01


def judge_arena(comparison: Comparison, rows: Sequence[ArenaRow], best: str, seeds: int) -> tuple[bool, str]:
    """Whether vigor may be claimed, and why.

    Args:
        comparison: of the best arm's child, p-values corrected over all lines.
        rows: of every arm and null.
        best: name of the best arm.
        seeds: number of seeds.

    Returns:
        the judgement, and one sentence in the language in use.
    """
    contrasts = [c for c in comparison.contrasts if c.benchmark == COMPOSITE]
    parents = {c.other: c for c in contrasts if c.against_parent}
    nulls = [c for c in contrasts if c.null is not None]
    figures = _figures(rows, nulls, best, seeds)
    unbeaten = [c for c in (parents["father"], *nulls) if not _above(c)]
    if unbeaten:
        return False, say(
            "No vigor: {arm} does not beat {others} at p < {level} ({figures}).",
            arm=best,
            others=_listing(unbeaten),
            level=LEVEL,
            figures=figures,
        )
    if not _above(parents["mother"]):
        return False, say(
            "No vigor, but a gain: {arm} beats the father and every null, and not the mother ({figures}).",
            arm=best,
            figures=figures,
        )
    return True, say(
        "Vigor: {arm} beats both parents and every null at p < {level} after correction ({figures}).",
        arm=best,
        level=LEVEL,
        figures=figures,
    )


def _figures(rows: Sequence[ArenaRow], nulls: Sequence[Contrast], best: str, seeds: int) -> str:
    means = {(row.arm, row.null): sum(row.values) / len(row.values) for row in rows}
    child = means[best, CHILD]
    figures = {
        "child": f"{child:.3f}",
        "father": f"{means[PARENTS_ARM, 'father']:.3f}",
        "mother": f"{means[PARENTS_ARM, 'mother']:.3f}",
        "seeds": seeds,
    }
    if not nulls:
        return say(
            "child {child}, father {father}, mother {mother} on the composite of held-out items, {seeds} seeds",
            **figures,
        )
    closest = min(nulls, key=lambda c: c.difference)
    return say(
        "child {child}, father {father}, mother {mother}, best null {score} ({null}) on the composite of held-out"
        " items, {seeds} seeds",
        score=f"{child - closest.difference:.3f}",
        null=closest.null,
        **figures,
    )


def _above(contrast: Contrast) -> bool:
    return contrast.low > 0 and contrast.p_holm is not None and contrast.p_holm < LEVEL


def _listing(contrasts: Sequence[Contrast]) -> str:
    """The models that the child is compared with, as a person lists them."""
    plain = [named(c.other) if c.null is None else say("the null {kind}", kind=c.null) for c in contrasts]
    if len(plain) == 1:
        return plain[0]
    return say("{all_but_last} and {last}", all_but_last=", ".join(plain[:-1]), last=plain[-1])
