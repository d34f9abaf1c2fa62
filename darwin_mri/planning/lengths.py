"""How long a benchmark's items are: counted where the items are at hand, else what is usual for their benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darwin_mri.benchmarks import ChoiceItem, Item
from darwin_mri.planning.activations import CHOICES, LETTERED, item_tokens

SAMPLE = 64  # items whose tokens are counted


@dataclass(frozen=True)
class ItemLength:
    """Tokens of a benchmark's mean item.

    Attributes:
        question: what all choices share.
        choice: one choice.
        choices: number of choices.
    """

    question: float
    choice: float
    choices: float

    @property
    def once(self) -> float:
        """Tokens read where the choices share their question."""
        return self.question + self.choices * self.choice

    @property
    def apart(self) -> float:
        """Tokens read where every choice is read with a question of its own; one token each needs no such reading."""
        return self.question if self.choice < 2 else self.choices * (self.question + self.choice)


def usual_length(name: str) -> ItemLength:
    """Of a benchmark whose items are not at hand."""
    choice = 1.0 if name in LETTERED else 3.0
    return ItemLength(item_tokens(name) - CHOICES * choice, choice, CHOICES)


def count_tokens(items: Sequence[Item], tokenizer: Any) -> ItemLength | None:
    """The mean length of items with choices.

    Args:
        items: of one benchmark; the first ``SAMPLE`` with choices are counted.
        tokenizer: the father's.

    Returns:
        The length; None where no item has choices.
    """
    sample = [item for item in items if isinstance(item, ChoiceItem)][:SAMPLE]
    if not sample:
        return None
    texts = [item.context for item in sample] + [f" {choice}" for item in sample for choice in item.choices]
    tokens = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    choices, questions = tokens[len(sample) :], tokens[: len(sample)]
    return ItemLength(
        sum(questions) / len(questions), sum(choices) / len(choices), sum(len(i.choices) for i in sample) / len(sample)
    )


Lengths = Mapping[str, ItemLength]
"""Benchmark -> the length of its items, where they were counted."""
