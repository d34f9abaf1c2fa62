"""What the parents score on the search items, where the search needs to know it."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class References(Record):
    """Scores of parents on the search items.

    Attributes:
        scores: role -> task -> the score of each item, higher is better.
    """

    scores: dict[str, dict[str, tuple[float, ...]]]


class LimitCheck(Part):
    """Whether the child keeps a limit, judged on held-out items.

    Attributes:
        task: that must not worsen.
        against: role of the parent that is the reference.
        worsen_by: by how much the score may be worse, in the task's unit.
        difference: child minus reference, higher is better.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        kept: whether the difference is within the limit.
        certain: whether the whole interval says the same.
        unit: of the task; empty for fractions.
    """

    task: str
    against: str
    worsen_by: float
    difference: float
    low: float
    high: float
    kept: bool
    certain: bool
    unit: str = ""
