"""The options of a crossing: how donors are built."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from darwin_mri.config_base import Section

READS = 0.3  # share of questions that a father must tell apart to be taught; nothing was taught below (docs/LOG.md)
SUBJECT_STEPS = 12  # by gradient, of arm.place: subject


class ArmConfig(Section):
    """How a cross-architecture donor is built from the mother (aligned, transplant, refit, competence)."""

    texts: str | None = Field(
        default=None, description="folder of JSONL texts both parents read; the built-in probes when absent"
    )
    documents: int = Field(default=64, ge=1, description="documents per language and domain")
    max_tokens: int = Field(default=128, ge=8, description="tokens read of each document")
    ridge: float = Field(
        default=1e-3, gt=0, description="penalty of every linear map, as a share of its inputs' mean power"
    )
    map: Literal["ridge", "procrustes"] = Field(default="ridge", description="kind of the maps between both streams")
    memory_gb: float = Field(
        default=8.0, gt=0, description="memory for second moments; less of it means more passes over the texts"
    )
    start: Literal["aligned", "transplant"] = Field(
        default="aligned", description="refit: arm whose neurons are kept; their down projection is solved again"
    )
    share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="refit from transplant: share of the father's neurons replaced by the mother's",
    )
    layers: tuple[int, ...] | Literal["read"] | None = Field(
        default=None,
        description="competence: layers to refit; read: those that pass the reading test; the last ones when absent",
    )
    depth: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="competence: share of the layers to refit, counted from the last, where layers is absent",
    )
    place: Literal["answer", "subject", "read"] = Field(
        default="answer",
        description="competence: token whose state the edit changes; answer: where the answer follows; subject: the"
        " last token of the question's subject, in layers that tell questions apart there; read: the subject where"
        " the reading test says that the father reads there alone",
    )
    target: Literal["nearest", "text", "states"] = Field(
        default="text",
        description="competence, place answer: target states of the edit; text: a linear map of the written next"
        " token's embedding; nearest: the nearest state from which that token follows; states: the mother's own"
        " states, mapped",
    )
    sweeps: int = Field(
        default=1, ge=1, description="competence: passes over the layers, each refitted after the one before"
    )
    rounds: int = Field(
        default=1,
        ge=1,
        description="competence: times that the parents write and the father is taught what it still gets wrong",
    )
    writer: Literal["parents", "father", "mother", "nobody"] = Field(
        default="parents",
        description="competence: model that completes the prompts; always the father where a text is protected",
    )
    trust: Literal["confidence", "agreement"] = Field(
        default="confidence",
        description="competence, writer parents: the completion that is used; confidence: the more probable one; "
        "agreement: the one whose answers agree over wordings of a question (same pair)",
    )
    prompts: str | None = Field(
        default=None,
        description="folder of JSONL prompts without answers, or nursery for prompts about its world; "
        "the search items' questions when absent",
    )
    forms: int = Field(default=3, ge=1, description="prompts: nursery: number of wordings of each fact and habit")
    new_tokens: int = Field(default=24, ge=1, description="competence: longest completion")
    margin: float = Field(
        default=0.3,
        ge=0,
        description="competence, target states: nats by which the mother's prediction must be better to set a target",
    )
    held_rows: float | None = Field(
        default=None,
        gt=0,
        description="competence: texts that only preserve the father's outputs, per text with a target; absent: all",
    )
    hold: float | Literal["null-space"] = Field(
        default=10.0,
        description="competence: weight of all tokens whose output must not change, against 1 for those with a target;"
        " null-space: the edit is kept off the leading directions of what the neurons are on them",
    )
    held_power: float = Field(
        default=0.99,
        gt=0,
        lt=1,
        description="competence, hold null-space: share of the power in the leading directions",
    )

    @field_validator("hold")
    @classmethod
    def _above_zero(cls, hold: float | str) -> float | str:
        if not isinstance(hold, str) and hold <= 0:
            raise ValueError("must be above 0, or null-space")
        return hold

    def prompts_fault(self) -> str | None:
        """What a run's ``competence`` lacks to find the subjects of questions; None where it lacks nothing."""
        if self.prompts is None and (self.place != "answer" or self.layers == "read"):
            asked = "layers: read" if self.place == "answer" else f"place: {self.place}"
            return f"arm.{asked} needs arm.prompts: several wordings of each question, of equal pair"
        return None
