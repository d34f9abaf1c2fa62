"""Items: what a task asks one by one, as splits, scorers and the harness see them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from darwin_mri.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Item(ABC):
    """What every kind of item has.

    Attributes:
        key: unique within the task.
        cluster: what items share that makes them dependent (a fact, a story); splits and intervals go by it.
        slice: the subset a score is also reported for.
        benchmark: name of the benchmark or task.
        file: where it was read, for messages: "click.jsonl line 17".
        gold: index of the right choice; -1 where there are no choices.
    """

    key: str
    cluster: str
    slice: str
    benchmark: str
    file: str = ""
    gold: int = -1

    @property
    def name(self) -> str:
        """Benchmark, key and file, for messages: never the text."""
        return f"{self.benchmark} item {self.key}" + (f" ({self.file})" if self.file else "")

    @property
    def options(self) -> int:
        """Number of choices that a guess is one of; 0 where there is no such number."""
        return 0

    @property
    @abstractmethod
    def content(self) -> list[object]:
        """What makes it this very item, as JSON values: its hash names it without giving away the text."""


@dataclass(frozen=True, kw_only=True)
class ChoiceItem(Item):
    """A question with choices; the continuation scored for a choice is ``" " + choice``.

    The space belongs to the continuation, never to the context: a context that ends in a space lets the tokenizer
    merge it into the choice's first token, and the scored continuation shrinks or vanishes.

    Attributes:
        context: the prompt, without trailing white space.
        choices: two or more, each without white space around it.
        message: what a chat model gets instead, its choices lettered; made of context and choices when empty.
        per_character: the headline compares log-probabilities per character of the choice (acc_norm), not sums (acc).
        chat: the context is a user's message, rendered by the model's chat template; a choice then follows at once.

    Raises:
        InputError: the item breaks one of these rules; the message names the key and never quotes the text.
    """

    context: str
    choices: tuple[str, ...]
    message: str = ""
    per_character: bool = False
    chat: bool = False

    @property
    def options(self) -> int:
        """As ``Item``."""
        return len(self.choices)

    @property
    def content(self) -> list[object]:
        """As ``Item``."""
        return [self.context, list(self.choices)]

    def __post_init__(self) -> None:
        where = self.name
        if not self.context or self.context != self.context.rstrip():
            raise InputError(f"{where}: the context is empty or ends in white space; strip it when loading")
        if len(self.choices) < 2 or any(not c or c != c.strip() for c in self.choices):
            raise InputError(f"{where}: needs two or more choices without white space around them; fix the loader")
        if not 0 <= self.gold < len(self.choices):
            raise InputError(f"{where}: gold {self.gold} is not one of {len(self.choices)} choices; fix the loader")


def with_choices(items: Sequence[Item]) -> list[ChoiceItem]:
    """The items that have choices: all that a server or a backend of lm-eval is asked."""
    return [item for item in items if isinstance(item, ChoiceItem)]


def lettered(choices: Sequence[str]) -> str:
    """The choices one a line: ``A. first``, ``B. second``, ..."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))


def continuation(choice: str) -> str:
    """The text whose probability is scored for a choice."""
    return " " + choice


def item_hash(item: Item) -> str:
    """First 16 hex digits of sha256 over an item's content: names it without giving away its text."""
    text = json.dumps(item.content, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def chance(items: Sequence[Item]) -> float | None:
    """Expected accuracy of guessing: the mean of 1 / number of choices; None where items have no choices.

    Raises:
        InputError: there are no items.
    """
    if not items:
        raise InputError("chance of no items is not defined: load a benchmark first")
    shares = [1.0 / item.options for item in items if item.options]
    return sum(shares) / len(shares) if len(shares) == len(items) else None
