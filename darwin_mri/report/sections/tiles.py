"""The figures at a page's head: the child's scores."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.records import Comparison, Score
from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.model.findings import against_better_parent, reading_label
from darwin_mri.report.model.view import Tile
from darwin_mri.report.sections import axes
from darwin_mri.report.sections.accuracy import benchmark_order, sorted_scores
from darwin_mri.translation import say

MOST_LINES = 3  # parents that each have a line of their own


def tiles(comparison: Comparison | None) -> tuple[Tile, ...]:
    """The head's figures, one per benchmark with a measured child."""
    if comparison is None:
        return ()
    shown = []
    for benchmark in benchmark_order(comparison):
        scores = [s for s in sorted_scores(comparison, benchmark) if s.evidence == "measured" and s.split != "search"]
        child = next((s for s in scores if s.role == "child"), None)
        if child is None:
            continue
        shown.append(score_tile(benchmark, child, [s for s in scores if s.role in PARENTS], comparison))
    return tuple(shown)


def score_tile(title: str, child: Score, parents: Sequence[Score], comparison: Comparison) -> Tile:
    """The child's score on a benchmark as a headline figure.

    Args:
        title: of the figure.
        child: its score.
        parents: their scores on the same benchmark.
        comparison: with the contrasts.

    Returns:
        The figure.
    """
    contrast = against_better_parent(comparison, child.benchmark)
    reading = ""
    if contrast is not None:
        gain = formats.bare_gain(contrast.difference, contrast.unit)
        gain = gain if contrast.unit else say("{number} pp", number=gain)
        reading = f"{gain}, {reading_label(contrast)}"
    shown = formats.bare_value(child.value, child.unit)
    return Tile(axes.task(title, child.unit), shown, reading, _parent_lines(parents))


def _parent_lines(parents: Sequence[Score]) -> tuple[str, ...]:
    """A line for each parent; of many the best one and what the others span, as the scores below name them all."""
    if len(parents) <= MOST_LINES:
        return tuple(f"{role_label(s.role)} {formats.bare_value(s.value, s.unit)}" for s in parents)
    best, *others = sorted(parents, key=lambda s: -s.value)
    low, high = (formats.bare_value(s.value, s.unit) for s in (others[-1], others[0]))
    return (
        say("best: {parent} {score}", parent=role_label(best.role), score=formats.bare_value(best.value, best.unit)),
        say("others {score}", score=low) if low == high else say("others {low} to {high}", low=low, high=high),
    )


def how_to_read(comparison: Comparison | None, note: str) -> str:
    """What stands below the figures, and that NLL and KL divergence are negated where there are any."""
    return f"{note} {say(axes.NEGATED)}" if comparison and axes.has_negated(comparison.scores) else note
