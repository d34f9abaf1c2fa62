"""Answers, scores and the comparison a reviewer reads. Accuracy is a fraction everywhere."""

from __future__ import annotations

from typing import Literal

from darwin_mri.records.base import Part, Record

Evidence = Literal["measured", "published", "estimated"]


class Answer(Part):
    """One model's answer to one item, without any text of it. ``choice`` is -1 where several choices tie."""

    key: str  # sha256 prefix of the item
    cluster: str
    slice: str
    gold: int
    choice: int
    credit: float  # 1 right, 0 wrong, 1/k for a tie of k that includes the gold
    log_probabilities: tuple[float, ...]


class Score(Part):
    """``correct`` is the sum of credits. ``role``: father, mother, base, child, null:NAME, baseline."""

    model: str
    role: str
    benchmark: str
    slice: str  # "all" or a slice's name
    evidence: Evidence
    protocol: str
    correct: float | None
    n: int | None
    clusters: int | None = None
    value: float
    low: float | None
    high: float | None
    chance: float | None
    source: str = ""
    split: Literal["held-out", "search", "full", "unknown"] = "held-out"


class Contrast(Part):
    """Child minus another model, paired on items. ``p_value`` by cluster sign-flip permutation, ``p_holm`` over the family of
    headline contrasts (None for those outside it), ``p_mcnemar`` the exact test on wins and losses."""

    name: str  # "child - father"
    benchmark: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float | None
    p_mcnemar: float
    n: int
    wins: int
    losses: int
    detectable: float


class Vigor(Part):
    """Heterosis on the composite: child minus the parents' mean, and minus the better parent."""

    mid_parent: float
    better_parent: float
    better_parent_low: float | None = None
    better_parent_high: float | None = None
    p_value: float | None = None  # intersection-union: the larger of the two one-sided p-values
    claimed: bool
    sentence: str


class Alert(Part):
    level: Literal["serious", "warning", "note"]
    text: str


class Comparison(Record):
    scores: tuple[Score, ...]
    contrasts: tuple[Contrast, ...]
    vigor: Vigor | None
    alerts: tuple[Alert, ...] = ()
    composite: dict[str, float] = {}  # benchmark weights of the composite
    headline: tuple[str, ...] = ()  # benchmarks in the order to show
