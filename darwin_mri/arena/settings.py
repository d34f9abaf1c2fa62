"""The YAML of an arena."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from darwin_mri.config import ARMS, Arm, ArmConfig, Section, load_section
from darwin_mri.config_base import NAME
from darwin_mri.config_tasks import TaskConfig

Null = Literal["random", "shuffled", "layers", "mask", "ignorant", "father-writes", "outside-text"]
NULLS: tuple[str, ...] = get_args(Null)
FINETUNE, RETRIEVAL = "finetune", "retrieval"
INSTEAD = (FINETUNE, RETRIEVAL)  # no arms: what a user could do instead


Rate = Annotated[float, Field(gt=0)]
Rank = Annotated[int, Field(ge=1)]


class Entry(Section):
    """One arm as it is tried, or what a user could do instead."""

    method: Literal[Arm, "finetune", "retrieval"] = Field(
        description="an arm; finetune: a short fine-tuning by gradient on the text that competence would be given;"
        " retrieval: the father unchanged, with the nearest of these texts before each question"
    )
    arm: ArmConfig = ArmConfig()
    nulls: bool = Field(default=True, description="whether its nulls are run beside it")
    steps: int = Field(default=60, ge=1, description="finetune: steps of AdamW")
    learning_rate: Rate | Annotated[tuple[Rate, ...], Field(min_length=1)] = Field(
        default=3e-4, description="finetune: peak; of several the best on search items is taken"
    )
    train: Literal["ffn", "layers", "lora"] = Field(
        default="ffn",
        description="finetune: what learns; ffn: the FFN matrices of arm.layers or arm.depth; layers: all weights of"
        " all layers; lora: low-rank adapters of all linear maps in all layers",
    )
    rank: Rank | Annotated[tuple[Rank, ...], Field(min_length=1)] = Field(
        default=16, description="finetune, train lora: rank of the adapters; of several the best on search items"
    )
    shown: int = Field(default=4, ge=1, description="retrieval: texts before a question")

    def variants(self) -> list[Entry]:
        """The entry with each of its learning rates alone, and of its ranks where adapters have one."""
        rates, ranks = (given if isinstance(given, tuple) else (given,) for given in (self.learning_rate, self.rank))
        ranks = ranks if self.train == "lora" else ranks[:1]
        return [self.model_copy(update={"learning_rate": rate, "rank": rank}) for rate, rank in product(rates, ranks)]


class ArenaConfig(Section):
    """One pair and what is tried on it."""

    name: str = Field(default="arena", pattern=NAME, description="of the folder in reports/")
    father: str = Field(description="the parent whose FFNs the arms change")
    mother: str = Field(description="the parent that donors are made of")
    ignorant: str | None = Field(
        default=None, description="a mother that does not know what is tested; without it that null is left out"
    )
    arms: dict[str, Entry] = Field(
        default={name: Entry(method=name) for name in ARMS},  # type: ignore[arg-type]
        description="name -> arm and its settings",
    )
    nulls: tuple[Null, ...] = Field(default=get_args(Null), description="each for the arms it is for (docs/arena.md)")
    ratios: tuple[float, ...] = Field(default=(0.5, 1.0), min_length=1, description="that each arm chooses from")
    seeds: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1, description="of splits, prompts, texts and nulls")
    tasks: dict[str, float] = Field(
        default={"nursery_click": 1.0, "nursery_musr": 1.0, "nursery_gpqa": 1.0},
        min_length=1,
        description="benchmark, or a task of own -> weight in the composite",
    )
    own: dict[str, TaskConfig] = Field(default={}, description="tasks of your own, as tasks in a run's config")
    data: str | None = Field(default=None, description="folder with the benchmark files; the hub when absent")
    search_share: float = Field(default=0.4, gt=0, lt=1, description="share of clusters on which ratios are chosen")
    search_items: int | None = Field(
        default=120, ge=8, description="of each benchmark, for the choice; all when absent"
    )
    prompts: str = Field(
        default="nursery",
        description="nursery (nursery@SEED): questions of the nursery's world without answers; else a folder of JSONL"
        " prompts",
    )
    forms: int = Field(default=3, ge=1, description="nursery prompts: wordings of each fact and habit")
    protect: tuple[str, ...] = Field(
        default=("ko",), description="languages or domains in which only the father completes prompts"
    )
    languages: tuple[str, ...] | None = Field(default=("ko", "en"), description="of the texts both parents read")
    device: Literal["auto", "cuda", "cpu"] = Field(default="auto", description="auto: a GPU where there is one")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: float32 on CPU, else the father's"
    )

    @model_validator(mode="after")
    def _sensible(self) -> ArenaConfig:
        if any(weight <= 0 for weight in self.tasks.values()):
            raise ValueError("every task needs a weight above 0")
        if unused := sorted(set(self.own) - set(self.tasks)):
            raise ValueError(f"own has {unused[0]}, which has no weight in tasks")
        if all(entry.method in INSTEAD for entry in self.arms.values()):
            raise ValueError(f"arms has no arm: {' and '.join(INSTEAD)} only stand beside one")
        if any(ratio <= 0 for ratio in self.ratios):
            raise ValueError("ratios must be above 0: the father, at 0, is always scored")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weights that sum to 1."""
        total = sum(self.tasks.values())
        return {name: weight / total for name, weight in self.tasks.items()}


def load_arena(path: Path) -> ArenaConfig:
    """Read an arena's YAML; errors as ``load_config``."""
    return load_section(ArenaConfig, path)


def nulls_of(entry: Entry, config: ArenaConfig) -> list[str]:
    """Which of the nulls asked for mean something for this arm."""
    if not entry.nulls:
        return []
    means = {
        "random": entry.method not in INSTEAD,
        "shuffled": entry.method not in INSTEAD,
        "layers": entry.method not in (*INSTEAD, "competence"),  # they use no layer map
        "mask": entry.method == "competence",
        "ignorant": config.ignorant is not None,
        "father-writes": entry.method in (*INSTEAD, "competence"),
        "outside-text": entry.method in (FINETUNE, "competence") and entry.arm.place == "answer",
    }
    return [null for null in config.nulls if means[null]]
