"""The item: one question with its choices, as every benchmark, scorer and the harness see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from darwin_mri.errors import InputError


@dataclass(frozen=True)
class Item:
    """One multiple-choice item; the continuation scored for a choice is ``" " + choice``.

    The space belongs to the continuation, never to the context: a context that ends in a space lets the tokenizer
    merge it into the choice's first token, and the scored continuation shrinks or vanishes.

    Attributes:
        key: unique within the benchmark.
        context: the prompt, without trailing white space.
        choices: two or more, each without white space around it.
        gold: index of the right choice.
        cluster: what items share that makes them dependent (a fact, a story); splits and intervals go by it.
        slice: the subset a score is also reported for.
        benchmark: name of the benchmark.
        message: what a chat model gets instead, its choices lettered; made of context and choices when empty.
        file: where it was read, for messages: "click.jsonl line 17".
        per_character: the headline compares log-probabilities per character of the choice (acc_norm), not sums (acc).

    Raises:
        InputError: the item breaks one of these rules; the message names the key and never quotes the text.
    """

    key: str
    context: str
    choices: tuple[str, ...]
    gold: int
    cluster: str
    slice: str
    benchmark: str
    message: str = ""
    file: str = ""
    per_character: bool = False

    @property
    def name(self) -> str:
        """Benchmark, key and file, for messages: never the text."""
        return f"{self.benchmark} item {self.key}" + (f" ({self.file})" if self.file else "")

    def __post_init__(self) -> None:
        where = self.name
        if not self.context or self.context != self.context.rstrip():
            raise InputError(f"{where}: the context is empty or ends in white space; strip it when loading")
        if len(self.choices) < 2 or any(not c or c != c.strip() for c in self.choices):
            raise InputError(f"{where}: needs two or more choices without white space around them; fix the loader")
        if not 0 <= self.gold < len(self.choices):
            raise InputError(f"{where}: gold {self.gold} is not one of {len(self.choices)} choices; fix the loader")


def lettered(choices: Sequence[str]) -> str:
    """The choices one a line: ``A. first``, ``B. second``, ..."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))


def continuation(choice: str) -> str:
    """The text whose probability is scored for a choice."""
    return " " + choice


def item_hash(item: Item) -> str:
    """First 16 hex digits of sha256 over context and choices: names an item without giving away its text."""
    text = json.dumps([item.context, list(item.choices)], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def chance(items: tuple[Item, ...]) -> float:
    """Expected accuracy of guessing: the mean of 1 / number of choices.

    Raises:
        InputError: there are no items.
    """
    if not items:
        raise InputError("chance of no items is not defined: load a benchmark first")
    return sum(1.0 / len(item.choices) for item in items) / len(items)
