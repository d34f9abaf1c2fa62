"""Answers, scores and the comparison that a reviewer reads. Accuracy is a fraction everywhere."""

from __future__ import annotations

import re
from typing import Any, Literal, cast, get_args

from pydantic import model_validator

from darwin_mri.records.base import Part, Record
from darwin_mri.records.benchmark import Protocol
from darwin_mri.records.references import LimitCheck
from darwin_mri.records.roles import CHILD_MINUS, PARENTS, Family, Other, family_of, null_of_role

Evidence = Literal["measured", "published", "estimated"]
Split = Literal["held-out", "search", "full", "all", "unknown"]
Level = Literal["serious", "warning", "note"]
LEVELS: tuple[Level, ...] = get_args(Level)  # the serious first
# Names of the end that a model gives its text itself; empty where the engine does not tell how it ended.
COMPOSITE = "composite"  # stands where a benchmark's name does, for the weighted mean of all
FINISHED = {"", "stop", "eos", "eos_token", "stop_sequence", "end_turn"}


def is_finished(finish_reason: str) -> bool:
    """Whether a model ended its text itself; false for one that was cut off ("length", "content_filter", ...)."""
    return finish_reason in FINISHED


class Answer(Part):
    """One model's answer to one item, without any text of the item.

    Attributes:
        key: sha256 prefix of the item.
        cluster: what the item shares with others, such as a story or a fact.
        slice: part of the benchmark that the item belongs to.
        gold: number of the right choice.
        choice: number of the model's choice; -1 where several choices tie, or none was given.
        credit: by the protocol's headline metric: 1 right, 0 wrong, 1/k for a tie of k choices that includes the gold
            one.
        log_probabilities: one per choice; empty where the answer was generated.
        protocol: hash of the protocol of the answer; answers of different protocols are never compared.
        choices: how many choices the item offers; 0 in files from before this field.
        metrics: credit by every metric of the protocol, the headline metric among them.
        votes: for generated answers, how many samples named each choice; what is missing named none.
        finish_reasons: for generated answers, how each sample ended ("stop", "length", "content_filter", ...); empty
            text where the engine does not tell.
    """

    key: str
    cluster: str
    slice: str
    gold: int
    choice: int
    credit: float
    log_probabilities: tuple[float, ...] = ()
    protocol: str = ""
    choices: int = 0
    metrics: dict[str, float] = {}
    votes: tuple[int, ...] = ()
    finish_reasons: tuple[str, ...] = ()

    @property
    def cut_off(self) -> int:
        """Number of samples that were cut off."""
        return sum(not is_finished(reason) for reason in self.finish_reasons)


class Score(Part):
    """One model's accuracy on a benchmark or on a slice of it.

    Attributes:
        model: name of the model.
        role: father, mother, parent3 and so on, base, child, ``null:KIND`` or baseline.
        benchmark: name of the benchmark, or ``composite``.
        slice: ``all`` or a slice's name.
        evidence: who took the score.
        protocol: how it was taken, in words.
        correct: sum of credits; None for the composite and for scores taken by others.
        n: number of items.
        clusters: number of clusters among the items.
        value: accuracy.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        chance: accuracy of guessing.
        source: where a score that was not measured here comes from.
        split: which part of the items; ``all``: whatever items there are, not split.
        protocol_hash: hash of the protocol, for measured scores.
        metric: acc, acc_norm (per character), maj@k, mean@k.
        null: kind of null child (uniform, prior-mean, ...); None for every other model. Filled from ``role`` where
            absent.
        unit: of the value, higher is better; empty for a fraction, which is shown in per cent.
    """

    model: str
    role: str
    benchmark: str
    slice: str
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
    split: Split = "held-out"
    protocol_hash: str = ""
    metric: str = "acc"
    null: str | None = None
    unit: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_null(cls, data: Any) -> Any:
        """Records of earlier versions name the kind of null child in the role alone."""
        given = _fields(data)
        if "null" not in given and isinstance(role := given.get("role"), str):
            return {**given, "null": null_of_role(role)}
        return data

    @property
    def family(self) -> Family:
        """The role without a null's kind."""
        if self.null is not None:
            return "null"
        return family_of(self.role)

    @property
    def measured_whole(self) -> bool:
        """Whether the score was measured here, on the whole benchmark."""
        return self.slice == "all" and self.evidence == "measured"


class Contrast(Part):
    """The child minus another model, paired on items.

    Attributes:
        name: ``child - father``, ``child - null:uniform``, ``child - MODEL`` for a baseline.
        benchmark: name of the benchmark, or ``composite``.
        difference: of the two accuracies.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        p_value: by cluster sign-flip permutation.
        p_holm: the same corrected over the family of headline contrasts; None for contrasts outside of it.
        p_mcnemar: the exact test on wins and losses.
        n: number of items.
        wins: items on which the child has more credit.
        losses: items on which the child has less credit.
        detectable: smallest difference that this many items show with 80 % power.
        other: what the other model is. Filled from ``name`` where absent, as are the next two.
        null: kind of null child (uniform, prior-mean, ...) where the other model is one, else None.
        model: the other model's name; may be empty for all but baselines in records from before this field.
        unit: of the difference; empty for a difference of fractions, which is shown in points.
    """

    name: str
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
    other: Other
    null: str | None = None
    model: str = ""
    unit: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_other(cls, data: Any) -> Any:
        """Records of earlier versions name the other model in the contrast's name alone."""
        given = _fields(data)
        if "other" in given or not isinstance(name := given.get("name"), str):
            return data
        label = name.removeprefix(CHILD_MINUS)
        null = null_of_role(label)
        if null is not None:
            return {**given, "other": "null", "null": null}
        if label in (*PARENTS, "base"):
            return {**given, "other": label}
        return {**given, "other": "baseline", "model": label}

    @property
    def against_parent(self) -> bool:
        """Whether the other model is one of the parents."""
        return self.other in PARENTS

    def against(self, score: Score) -> bool:
        """Whether the other model is the one of this score, on the same benchmark."""
        if (self.benchmark, self.other, self.null) != (score.benchmark, score.family, score.null):
            return False
        return self.other != "baseline" or self.model == score.model


class Vigor(Part):
    """Heterosis on the composite: the child against the parents' mean and against the better parent.

    Attributes:
        mid_parent: child minus the mean of both parents.
        better_parent: child minus the better parent.
        better_parent_low: lower end of its 95 % interval.
        better_parent_high: upper end of its 95 % interval.
        p_value: of the intersection-union test: the larger of the two one-sided p-values.
        claimed: whether vigor may be claimed.
        sentence: the same in words.
    """

    mid_parent: float
    better_parent: float
    better_parent_low: float | None = None
    better_parent_high: float | None = None
    p_value: float | None = None
    claimed: bool
    sentence: str


MIXED_PROTOCOLS = "mixed-protocols"
_MIXED_TEXT = re.compile(r"Scores on (?P<benchmark>.+?) come from different protocols")


class Alert(Part):
    """Something a reader must know before believing the scores.

    Attributes:
        level: how much it matters.
        text: one or two sentences.
        kind: what it is about, for programs; empty in records from before this field, except for mixed protocols.
        benchmark: the benchmark it is about, where it is about one.
    """

    level: Level
    text: str
    kind: str = ""
    benchmark: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_kind(cls, data: Any) -> Any:
        """Records of earlier versions have the text alone; only mixed protocols are looked for later."""
        given = _fields(data)
        if "kind" in given or not isinstance(text := given.get("text"), str):
            return data
        mixed = _MIXED_TEXT.match(text)
        return {**given, "kind": MIXED_PROTOCOLS, "benchmark": mixed["benchmark"]} if mixed else data


class Coverage(Part):
    """How much of a published benchmark was at hand.

    Attributes:
        part: ``all`` or a subset's name.
        items: number of items at hand.
        full: published number of items; None where none was published.
    """

    part: str
    items: int
    full: int | None = None


class BenchmarkInfo(Part):
    """What a benchmark's name stands for in this comparison.

    Attributes:
        name: as in the scores.
        title: for people.
        complete: whether every published item was at hand, before any sample was drawn.
        coverage: items at hand, by part.
        left_out: items longer than a compared model's context, left out for every model.
        beyond: items read beyond a compared model's stated context.
        in_parts: models whose chat template takes the question only as a list of parts.
        unit: of its scores; empty where they are fractions, which are shown in per cent.
    """

    name: str
    title: str
    complete: bool = True
    coverage: tuple[Coverage, ...] = ()
    left_out: int = 0
    beyond: int = 0
    in_parts: tuple[str, ...] = ()
    unit: str = ""


class Comparison(Record):
    """All scores of the compared models and the child's contrasts with each of the others.

    Attributes:
        scores: measured scores, then published and estimated ones.
        contrasts: the child minus each other model, on every benchmark both answered under one protocol.
        vigor: None where child, father and mother were not all measured on the composite.
        alerts: what a reader must know first.
        composite: benchmark -> weight in the composite.
        headline: benchmarks in the order to show.
        secondary: the same answers by the protocols' other metrics; never the headline.
        benchmarks: what the benchmarks' names stand for.
        protocols: of the measured scores, by ``Score.protocol_hash``.
        limits: whether the child keeps the run's limits.
    """

    scores: tuple[Score, ...]
    contrasts: tuple[Contrast, ...]
    vigor: Vigor | None
    alerts: tuple[Alert, ...] = ()
    composite: dict[str, float] = {}
    headline: tuple[str, ...] = ()
    secondary: tuple[Score, ...] = ()
    benchmarks: tuple[BenchmarkInfo, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    limits: tuple[LimitCheck, ...] = ()


def _fields(data: Any) -> dict[str, Any]:
    """What a record is made from, as its fields; none where it is no mapping, which pydantic refuses."""
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}
