"""The user's own tasks in a config: one section for each kind, and limits on tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from darwin_mri.config_base import NAME, Section

Match = Literal["exact", "number", "regex", "contains", "letter"]
REAL = {"click": 0.6, "musr": 0.4}  # the fitness of the Darwin-4B-Genesis card


class _Written(Section):
    """A task whose answers a model may have to write."""

    stand_in: str | None = Field(
        default=None,
        description="another task, whose slopes show the search where to start: a written answer has none of its own",
    )


class QuestionTask(_Written):
    """A table: questions with choices, prompts with open answers, or texts, as the fields of its rows say."""

    jsonl: str = Field(description="file with an item in each line or row: .jsonl, .csv, .tsv or .parquet")
    prompt: str = Field(
        default="Question: {question}\nAnswer:",
        description="what a model reads of a row, with {question} in it; a row with a context alone is read as it is",
    )
    letters: bool = Field(
        default=False, description="list the choices with letters and score the letters, not the choices' text"
    )
    language: Literal["en", "ko"] = Field(
        default="en", description="of the instruction to a chat model (bench.protocol generate)"
    )
    chat: bool = Field(default=False, description="what is read is put into the model's chat template")
    match: Match = Field(
        default="exact",
        description="how an open answer is compared, where its row does not say: exact, number (the last one), regex,"
        " contains, letter",
    )
    max_new_tokens: int = Field(default=64, ge=1, description="open answers: longest answer in tokens")
    temperature: float = Field(default=0.0, ge=0, description="open answers: 0 is greedy decoding")
    samples: int = Field(default=1, ge=1, description="open answers: answers to each prompt, whose credit is averaged")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None, description="open answers: texts that end an answer; the end of a line when absent and not chat"
    )

    @model_validator(mode="after")
    def _one_question(self) -> QuestionTask:
        if self.prompt.count("{question}") != 1:
            raise ValueError("prompt needs {question} exactly once, where a row's question is to stand")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} greedy samples are the same answer: give a temperature such as 0.6")
        return self


class LmEvalTask(_Written):
    """A task of lm-evaluation-harness: its own requests, filters and metrics."""

    lm_eval: str = Field(min_length=1, description="name of a task, a group or a tag")
    include_path: str | None = Field(default=None, description="folder with task files of your own")
    num_fewshot: int | None = Field(
        default=None, ge=0, description="examples in the prompt; the task's own when absent"
    )
    gen_kwargs: dict[str, Any] = Field(default={}, description="generation settings, laid over the task's own")
    metric: str | None = Field(
        default=None,
        description="which of the task's metrics is the score, such as acc_norm or exact_match,strict-match",
    )
    cluster: str | None = Field(
        default=None, description="field of a document that dependent documents share (a passage); none when absent"
    )
    chat: bool = Field(default=False, description="what is read is put into the model's chat template")
    _code_allowed: bool = PrivateAttr(default=False)

    @property
    def code_allowed(self) -> bool:
        """Whether code that the task's files ask for may run: no file can say so, only who starts the command."""
        return self._code_allowed


class NllTask(Section):
    """Texts, scored by their NLL per byte."""

    nll: str = Field(description="a text file, a table with a text in each row, or a folder of them")
    passage: int = Field(default=1000, ge=100, description="bytes at most that are read in one piece")


class AgreementTask(Section):
    """Texts without labels: how near the child's predictions are to a parent's."""

    agreement: str = Field(description="a text file, a table with a text in each row, or a folder of them")
    partner: str = Field(
        default="better",
        alias="with",
        description="the parent to agree with: father, mother, parent3 and so on, or better: on each passage the one"
        " with the lower NLL",
    )
    passage: int = Field(default=500, ge=100, description="bytes at most that are read in one piece")


class LimitConfig(Section):
    """What a child must not lose on a task."""

    against: str = Field(description="parent whose score is the reference: father, mother, parent3 and so on")
    worsen_by: float = Field(
        default=0.0,
        ge=0,
        description="by how much the score may be worse, in the task's unit (accuracy as a fraction, NLL in nats per"
        " byte)",
    )


KINDS: dict[str, type[Section]] = {
    "jsonl": QuestionTask,
    "lm_eval": LmEvalTask,
    "nll": NllTask,
    "agreement": AgreementTask,
}


def _kind(given: Any) -> str | None:
    if isinstance(given, Section):
        return next(kind for kind, section in KINDS.items() if isinstance(given, section))
    return next((kind for kind in KINDS if isinstance(given, dict) and kind in given), None)


def _one_kind(given: Any) -> Any:
    if isinstance(given, dict):
        named = [kind for kind in KINDS if kind in given]
        if len(named) != 1:
            what = f"has {' and '.join(named)}" if named else "has no kind"
            raise ValueError(f"{what}: give exactly one of {', '.join(KINDS)}")
    elif not isinstance(given, Section):
        raise ValueError("is no mapping: write for example {jsonl: questions.jsonl}")
    return given


TaskConfig = Annotated[
    Annotated[QuestionTask, Tag("jsonl")]
    | Annotated[LmEvalTask, Tag("lm_eval")]
    | Annotated[NllTask, Tag("nll")]
    | Annotated[AgreementTask, Tag("agreement")],
    Discriminator(_kind),
    BeforeValidator(_one_kind),
]
OwnTask = QuestionTask | LmEvalTask | NllTask | AgreementTask


def engine_fault(engine: str, tasks: Mapping[str, OwnTask], searched: Iterable[str]) -> str:
    """Why an engine cannot score the tasks that candidates are asked; empty where it can.

    Args:
        engine: ``search.engine``.
        tasks: the user's own.
        searched: the names of those asked.

    Returns:
        One line: which task, and what to set.
    """
    whole = [name for name in searched if engine == "vllm" and isinstance(tasks.get(name), AgreementTask)]
    if not whole:
        return ""
    return (
        f"tasks.{whole[0]}: agreement needs the whole prediction, which vLLM does not give: set search.engine to"
        " transformers"
    )


class Tasks(Section):
    """The tasks of a config, or of a command line."""

    tasks: dict[Annotated[str, Field(pattern=NAME)], TaskConfig] = Field(
        default={}, description="the user's own tasks by name, for fitness, limits and bench.tasks (docs/tasks.md)"
    )

    def allowing_code(self, allowed: bool) -> Self:
        """A copy whose tasks may run the code that their files ask for, or may not: see ``LmEvalTask.code_allowed``."""
        return self.model_copy(update={"tasks": allow_code(self.tasks, allowed)})

    @property
    def code_allowed(self) -> bool:
        """Whether a task of it may run code."""
        return any(isinstance(task, LmEvalTask) and task.code_allowed for task in self.tasks.values())

    @field_validator("tasks", mode="after")
    @classmethod
    def _stand_ins(cls, tasks: dict[str, OwnTask]) -> dict[str, OwnTask]:
        for name, task in tasks.items():
            other = getattr(task, "stand_in", None)
            if other is not None and (other == name or getattr(tasks.get(other), "stand_in", None)):
                raise ValueError(f"{name}.stand_in names {other}: name another task, one without a stand-in of its own")
        return tasks


def allow_code(tasks: Mapping[str, OwnTask], allowed: bool) -> dict[str, OwnTask]:
    """Own tasks with the permission to run the code that their files ask for, or without it.

    Args:
        tasks: by name.
        allowed: by who starts the command.

    Returns:
        Copies.
    """
    copies = {name: task.model_copy() for name, task in tasks.items()}
    for task in copies.values():
        if isinstance(task, LmEvalTask):
            task._code_allowed = allowed
    return copies


def with_tasks(given: dict[str, Any]) -> dict[str, Any]:
    """A run's mapping with its fitness and the tasks of its bench, where they are not given.

    Args:
        given: what the user wrote, not validated yet; what is wrong in it is reported by the validation that follows.

    Returns:
        The same; the fitness is own tasks, else with data the real benchmarks.
    """
    own, bench, limits = given.get("tasks") or {}, given.get("bench") or {}, given.get("limits") or {}
    if not all(isinstance(part, dict) for part in (own, bench, limits)) or "tasks" in bench:
        return given
    beside = {*limits, *(task.get("stand_in") for task in own.values() if isinstance(task, dict))}
    aims = {name: 1.0 for name in own if name not in beside}
    default = aims or (REAL if given.get("data") else None)
    fitness = given.get("fitness", default) if own or "fitness" not in given else None
    if not isinstance(fitness, dict):
        return given
    tasks = tuple(dict.fromkeys((*fitness, *own, *limits)))
    return {**given, "fitness": fitness, "bench": {**bench, "tasks": tasks}}
