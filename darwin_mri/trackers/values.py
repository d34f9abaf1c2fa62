"""What is logged at a run's end: fitness, held-out scores with their intervals, vigor, health."""

from __future__ import annotations

import re

from darwin_mri.records import Comparison, Genome, Health, Score

OTHER = re.compile(r"[^\w./-]+")  # no tracker takes every sign in a name


def final_values(genome: Genome, health: Health, comparison: Comparison) -> dict[str, float]:
    """The end of a run in numbers, by names such as ``held-out/nursery_click/child``.

    Args:
        genome: of the winner.
        health: of the child.
        comparison: scores of child, parents and null children.

    Returns:
        Name -> value; what was not measured is absent.
    """
    found: dict[str, float | None] = {
        "fitness/search": genome.search_score,
        "fitness/fresh": genome.retest_score,
        "fitness/held-out": genome.held_out_score,
        "health/passed": float(health.passed),
    }
    for score in comparison.scores:
        if score.measured_whole and score.split in ("held-out", "full", "all"):
            name = f"{score.split}/{score.benchmark}/{_who(score)}"
            found |= {name: score.value, f"{name}/low": score.low, f"{name}/high": score.high}
    if (vigor := comparison.vigor) is not None:
        found |= {
            "vigor/mid-parent": vigor.mid_parent,
            "vigor/better-parent": vigor.better_parent,
            "vigor/better-parent/low": vigor.better_parent_low,
            "vigor/better-parent/high": vigor.better_parent_high,
            "vigor/p-value": vigor.p_value,
            "vigor/claimed": float(vigor.claimed),
        }
    return {OTHER.sub("_", name): value for name, value in found.items() if value is not None}


def _who(score: Score) -> str:
    return f"null/{score.null}" if score.null is not None else score.role
