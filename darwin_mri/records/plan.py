"""What a run would need and whether it can be run, known before any weight is read."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class PlanParent(Part):
    """One parent as its configuration, headers and tokenizer describe it.

    Attributes:
        role: "father", "mother", "base", ...
        ref: as the user wrote it, without folders.
        family: the configuration's model type.
        layers: number of layers.
        hidden_size: width of the residual stream.
        ffn_size: width of the widest FFN.
        parameters: number of weights.
        dtype: of most weights.
        size: of the weight files, in bytes.
        shards: number of weight files.
        vocabulary: number of tokens; None without a tokenizer.json.
        note: where the figures come from, where nothing but a configuration was at hand.
    """

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
    """An operator or arm.

    Attributes:
        name: of the method.
        kind: "operator" or "arm".
        possible: whether it can merge this pair.
        reason: why it cannot; empty where it can.
    """

    name: str
    kind: str
    possible: bool
    reason: str = ""


class PlanNeed(Part):
    """Bytes needed and available.

    Attributes:
        name: "disk", "host memory" or "device memory".
        needed: bytes.
        available: bytes; None where unknown.
        fits: whether the need fits; None where unknown.
        note: what is counted.
    """

    name: str
    needed: int
    available: int | None
    fits: bool | None
    note: str = ""


class PlanStage(Part):
    """Expected time of a stage.

    Attributes:
        name: of the stage.
        seconds: expected.
        note: what is counted.
    """

    name: str
    seconds: float
    note: str


class Plan(Record):
    """What a configured run would need.

    Attributes:
        method: operator or arm.
        parents: every model it would read.
        siblings: whether tensors of the pair can be blended as they are.
        sibling_reason: why they cannot; empty where they can.
        notes: what to know of siblings: fields of the configuration that change the computation, tokens, chat template.
        methods: every operator and arm, and whether it is possible on this pair.
        needs: disk and memory.
        evaluations: candidates that would be scored, finalists' re-tests included.
        stages: expected time of each.
        seconds: expected time of all stages.
        speed: what the seconds rest on.
        problems: what stands in the way, each with what to do.
        fits: whether the run can be done: there are no problems.
    """

    method: str
    parents: tuple[PlanParent, ...]
    siblings: bool
    sibling_reason: str = ""
    notes: tuple[str, ...] = ()
    methods: tuple[PlanMethod, ...]
    needs: tuple[PlanNeed, ...]
    evaluations: int
    stages: tuple[PlanStage, ...]
    seconds: float
    speed: str
    problems: tuple[str, ...]
    fits: bool
