"""Documents of lm-eval tasks as items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.kinds.lm_eval_tasks.metrics import Key
from darwin_mri.benchmarks.kinds.lm_eval_tasks.subtask import Subtask


@dataclass(frozen=True, kw_only=True)
class LmEvalItem(Item):
    """A document, whose answers have no slopes: they are written, or scored by code.

    Attributes:
        subtask: the task it is a document of.
        number: of the document.
        digest: of its requests.
        metric: (metric, filter) that is its credit.
        unit: of the credit.
        choices: what its answers are compared as; empty where it is no question with choices.
        golds: the right ones.
    """

    subtask: Subtask = field(compare=False, repr=False)
    number: int
    digest: str
    metric: Key
    unit: str = ""
    choices: tuple[str, ...] = ()
    golds: tuple[int, ...] = ()

    @property
    def content(self) -> list[object]:
        """As ``Item``."""
        return [self.subtask.name, self.number, self.digest]

    @property
    def options(self) -> int:
        """As ``Item``; 0 also where several choices are right, or the score is no accuracy."""
        return len(self.choices) if len(self.golds) == 1 and self.metric[0].startswith("acc") else 0


@dataclass(frozen=True, kw_only=True)
class ScoredItem(LmEvalItem):
    """A document whose answers are log-probabilities of given texts: its score has slopes."""


def digest_of(value: object) -> str:
    """First 16 hex digits of a hash of JSON values: names them without giving away a text."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def choices_of(task: Any, doc: Any) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The choices of a document and the right ones; both empty where it has none, or they are not known.

    Args:
        task: lm-eval's object.
        doc: the document.

    Returns:
        (choices, numbers of the right ones).
    """
    if getattr(task, "OUTPUT_TYPE", None) != "multiple_choice":
        return (), ()
    try:
        choices = [str(choice) for choice in task.doc_to_choice(doc)]
        given = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    except Exception:  # tasks with a scoring of their own need not have either
        return (), ()
    right = [
        choices.index(gold) if isinstance(gold, str) and gold in choices else gold
        for gold in (given if isinstance(given, list) else [given])
    ]
    golds = tuple(gold for gold in right if isinstance(gold, int) and 0 <= gold < len(choices))
    return (tuple(choices), golds) if golds and all(choices) else ((), ())


def has_slopes(subtasks: Sequence[Subtask], documents: Iterator[LmEvalItem]) -> bool:
    """Whether all documents are answered by log-probabilities, and those with choices have one right one."""
    types = {getattr(subtask.task, "OUTPUT_TYPE", None) for subtask in subtasks}
    if not types <= {"multiple_choice", "loglikelihood", "loglikelihood_rolling"}:
        return False
    return all(len(i.golds) == 1 or i.subtask.task.OUTPUT_TYPE != "multiple_choice" for i in documents)


def field_of(doc: Any, name: str) -> Any:
    """A field of a document; None where it has none."""
    return doc.get(name) if isinstance(doc, Mapping) else None
