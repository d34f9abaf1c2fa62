"""How candidates compare: within the limits by fitness, outside of them by how far they are outside, failed ones last.

This is the order of Deb 2000 (constrained tournament selection): every candidate within its limits is better than every
one that breaks a limit. CMA-ES uses ranks alone, so the losses below only have to be in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import LedgerLine

BROKEN = 1e6  # loss of a candidate at the edge of its limits: above that of any fitness
FAILED = 1e12  # loss of a candidate that could not be scored


def violation(scores: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """How far scores fall short of their limits: the sum of the shortfalls, 0 where all are kept.

    Args:
        scores: task -> its score, higher is better.
        limits: task -> the least score it may have.

    Returns:
        The sum, in the tasks' units.
    """
    return sum(max(0.0, least - scores[name]) for name, least in limits.items())


def loss(line: LedgerLine) -> float:
    """A candidate's loss, smaller is better: the negated fitness where every limit is kept."""
    if line.fitness is None:
        return FAILED
    return BROKEN + line.violation if line.violation > 0 else -line.fitness


def best_first(line: LedgerLine) -> tuple[float, int]:
    """Sort key: the best candidate first, the earlier of two equal ones first."""
    return loss(line), line.evaluation


def best_whole(lines: Sequence[LedgerLine]) -> LedgerLine | None:
    """The best candidate that was scored on all items; None where there is none."""
    return min((line for line in lines if line.status == "ok"), key=best_first, default=None)
