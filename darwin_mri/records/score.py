"""Answers, scores and the comparison a reviewer reads. Accuracy is a fraction everywhere."""

from __future__ import annotations

from typing import Literal

from darwin_mri.records.base import Part, Record
from darwin_mri.records.benchmark import Protocol

Evidence = Literal["measured", "published", "estimated"]


class Answer(Part):
    """One model's answer to one item, without any text of it. ``choice`` is -1 where several choices tie, or none was given."""

    key: str  # sha256 prefix of the item
    cluster: str
    slice: str
    gold: int
    choice: int
    credit: float  # by the protocol's headline metric: 1 right, 0 wrong, 1/k for a tie of k that includes the gold
    log_probabilities: tuple[float, ...] = ()  # one per choice; empty where the answer was generated
    protocol: str = ""  # hash of the protocol it was given under; answers of different protocols are never compared
    choices: int = 0  # how many the item offers; 0 in files of before this field
    metrics: dict[str, float] = {}  # credit by every metric of the protocol, the headline's among them
    votes: tuple[int, ...] = ()  # generated answers: how many samples named each choice; what is missing named none


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
    split: Literal["held-out", "search", "full", "all", "unknown"] = (
        "held-out"  # all: whatever items there are, unsplit
    )
    protocol_hash: str = ""
    metric: str = "acc"  # acc, acc_norm (per character), maj@k, mean@k


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


class Coverage(Part):
    """How much of a published benchmark was at hand: ``full`` is the published number of items, None where there is none."""

    part: str  # "all" or a subset's name
    items: int
    full: int | None = None


class BenchmarkInfo(Part):
    """What a benchmark's name stands for in this comparison."""

    name: str
    title: str
    complete: bool = True  # every published item was at hand (before any sample was drawn)
    coverage: tuple[Coverage, ...] = ()
    left_out: int = 0  # items longer than a compared model's context, left out for every model
    beyond: int = 0  # items read beyond a compared model's stated context


class Comparison(Record):
    scores: tuple[Score, ...]
    contrasts: tuple[Contrast, ...]
    vigor: Vigor | None
    alerts: tuple[Alert, ...] = ()
    composite: dict[str, float] = {}  # benchmark weights of the composite
    headline: tuple[str, ...] = ()  # benchmarks in the order to show
    secondary: tuple[Score, ...] = ()  # the same answers by the protocols' other metrics; never the headline
    benchmarks: tuple[BenchmarkInfo, ...] = ()
    protocols: tuple[Protocol, ...] = ()  # of the measured scores, by Score.protocol_hash
