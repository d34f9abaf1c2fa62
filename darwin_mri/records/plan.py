"""What a run would need and whether it can be run, said before any weight is read."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class PlanParent(Part):
    """One parent as its configuration, headers and tokenizer describe it. ``size`` in bytes; ``vocabulary`` absent without a
    tokenizer.json. ``note`` says so where nothing but a configuration was at hand."""

    role: str
    ref: str
    family: str
    layers: int
    hidden_size: int
    ffn_size: int
    parameters: int
    dtype: str
    size: int
    shards: int
    vocabulary: int | None = None
    note: str = ""


class PlanMethod(Part):
    """An operator or arm; ``reason`` says why it is not possible on this pair, empty where it is."""

    name: str
    kind: str  # operator, arm
    possible: bool
    reason: str = ""


class PlanNeed(Part):
    """Bytes needed and available; ``available`` absent where it cannot be told, and then ``fits`` is None."""

    name: str  # disk, host memory, device memory
    needed: int
    available: int | None
    fits: bool | None
    note: str = ""


class PlanStage(Part):
    """Expected seconds of a stage, and what is counted."""

    name: str
    seconds: float
    note: str


class Plan(Record):
    """``fits`` is whether the configured run can be done; ``problems`` say what stands in its way, each with what to do."""

    method: str
    parents: tuple[PlanParent, ...]
    siblings: bool
    sibling_reason: str = ""
    tokenizers: str
    methods: tuple[PlanMethod, ...]
    needs: tuple[PlanNeed, ...]
    evaluations: int
    stages: tuple[PlanStage, ...]
    seconds: float
    speed: str  # what the seconds rest on
    problems: tuple[str, ...]
    fits: bool
