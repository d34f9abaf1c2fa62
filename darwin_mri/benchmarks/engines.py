"""Engines: what answers items under a protocol."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence

from darwin_mri.benchmarks.items import ChoiceItem, Item, item_hash
from darwin_mri.benchmarks.kinds import open_grader
from darwin_mri.benchmarks.scorer import Scorer
from darwin_mri.errors import ConfigError
from darwin_mri.records import Answer, Protocol


class Engine(typing.Protocol):
    """Answers items; what was yielded is safe with the caller when a later item fails."""

    @property
    def name(self) -> str:
        """The engine that answers are recorded as coming from."""
        ...

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        """One answer per item, in any order, each as soon as it is known."""
        ...


class FastEngine:
    """This package's scorer on a resident model.

    Args:
        scorer: of the model.
    """

    name = "darwin_mri scorer"

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def answers(self, items: Sequence[Item], protocol: Protocol) -> Iterator[Answer]:
        """As ``Engine``, in the order of the scorer's batches.

        Raises:
            ConfigError: the protocol asks for generated answers.
        """
        if protocol.generation is not None and any(isinstance(item, ChoiceItem) for item in items):
            raise ConfigError("the fast scorer scores log-likelihoods: leave --fast out for generated answers")
        for _, grade in open_grader(items, self.scorer).grades(range(len(items)), protocol.hash):
            yield grade.answer


def answer_all(engine: Engine, items: Sequence[Item], protocol: Protocol) -> list[Answer]:
    """Every answer of an engine.

    Args:
        engine: that answers.
        items: all different.
        protocol: of the answers.

    Returns:
        The answers, in the order of ``items``.
    """
    answers = {answer.key: answer for answer in engine.answers(items, protocol)}
    return [answers[item_hash(item)] for item in items]
