"""What the repair of a child did: who taught what, which strength was chosen, and how far each map moved."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class RepairedMap(Part):
    """One linear map.

    Attributes:
        tensor: its weight, by the name of the parameter.
        layer: number of the layer.
        width: inputs of the map.
        change: |repaired - merged| / |merged|.
        explained_before: share of the teachers' outputs (their second moment) that the merged map explains on the
            repaired stream; may be below 0.
        explained_after: the same of the repaired map.
    """

    tensor: str
    layer: int
    width: int
    change: float
    explained_before: float
    explained_after: float


class TaughtGroup(Part):
    """Documents of one language and domain, and who taught them.

    Attributes:
        language: of the documents.
        domain: of the documents.
        protected: whether the father teaches all of them whatever it predicts.
        documents: how many.
        teachers: role -> how many of them it taught.
        nll_per_byte: role -> its NLL in nats per byte over all of them.
    """

    language: str
    domain: str
    protected: bool
    documents: int
    teachers: dict[str, int]
    nll_per_byte: dict[str, float]


class RepairTeachers(Record):
    """Which parent teaches which document.

    Attributes:
        texts: digest of the documents.
        roles: one per document that a model can read, in their order.
        groups: the same by language and domain.
        tokens: that are read of all documents.
    """

    texts: str
    roles: tuple[str, ...]
    groups: tuple[TaughtGroup, ...]
    tokens: int


class RepairChoice(Part):
    """A strength and what the child so repaired scores on search items.

    Attributes:
        strength: None is the child without repair.
        fitness: weighted sum of the scores.
        scores: task -> mean score.
        violation: by how much limits are broken, summed over them.
        seconds: of repairing and scoring.
    """

    strength: float | None
    fitness: float
    scores: dict[str, float]
    violation: float = 0.0
    seconds: float = 0.0


class RepairTrial(Record):
    """A choice as a run keeps it while others are still to be tried.

    Attributes:
        choice: strength and scores.
    """

    choice: RepairChoice


class RepairRecord(Record):
    """The repair of a run's child.

    Attributes:
        strength: the chosen one; None where no repair was better on the search items.
        choices: all that was tried.
        items: search items that each was scored on.
        groups: who taught what.
        texts: digest of the documents.
        documents: that were read.
        tokens: that were read.
        maps: figures of every map at the chosen strength.
        left_alone: reason -> number of matrices that were not repaired.
        notes: what to know, in sentences.
        seconds: of the whole stage.
    """

    strength: float | None
    choices: tuple[RepairChoice, ...]
    items: int
    groups: tuple[TaughtGroup, ...]
    texts: str
    documents: int
    tokens: int
    maps: tuple[RepairedMap, ...] = ()
    left_alone: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
