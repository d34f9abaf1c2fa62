"""What a specialist learns and is asked: facts or skills, with wordings that training never shows."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from darwin_mri.benchmarks import ChoiceItem

CHOICES = 4
Statement = tuple[str, str]
"""A prompt, and what follows it."""


@dataclass(frozen=True)
class Fact:
    """Something with one right answer.

    Attributes:
        key: unique within its subject.
        statements: training wordings, which end with the answer.
        prompts: test wordings, which end where the answer would follow.
        answer: the right one.
        wrong: three others of the same kind.
        slice: its kind.
        cluster: what it shares with others that hang on the same knowledge; its key when empty.
    """

    key: str
    statements: tuple[str, ...]
    prompts: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]
    slice: str
    cluster: str = ""


class Subject(ABC):
    """What one specialist learns.

    Attributes:
        name: of the subject and of the task that asks it.
    """

    name: str

    @abstractmethod
    def facts(self) -> Sequence[Fact]:
        """What is asked: a fact, or a problem that training never shows."""

    @abstractmethod
    def statements(self, rng: random.Random) -> Iterator[Statement]:
        """Endless training text, a statement at a time."""

    def items(self) -> tuple[ChoiceItem, ...]:
        """Every fact in every test wording."""
        return tuple(
            choice_item(self.name, f"{fact.key}-w{number}", fact, prompt)
            for fact in self.facts()
            for number, prompt in enumerate(fact.prompts)
        )


def split_statement(text: str, answer: str) -> Statement:
    """A sentence that ends with its answer, as the prompt and the answer with the space before it."""
    prompt = text[: text.rindex(answer)].rstrip()
    return prompt, text[len(prompt) :]


class FactSubject(Subject):
    """A subject whose facts are taught in other wordings than they are asked in."""

    def statements(self, rng: random.Random) -> Iterator[Statement]:
        """Endless: every fact once in a drawn wording, then all again in another order."""
        facts = list(self.facts())
        while True:
            rng.shuffle(facts)
            for fact in facts:
                yield split_statement(rng.choice(fact.statements), fact.answer)


def choice_item(subject: str, key: str, fact: Fact, prompt: str) -> ChoiceItem:
    """An item whose choices are shuffled by its own key.

    Args:
        subject: name of the task.
        key: of the item.
        fact: that it asks.
        prompt: one of the fact's.

    Returns:
        The item.
    """
    choices = [fact.answer, *fact.wrong]
    random.Random(f"{subject}:{key}").shuffle(choices)
    return ChoiceItem(
        key=key,
        context=prompt,
        choices=tuple(choices),
        gold=choices.index(fact.answer),
        cluster=fact.cluster or fact.key,
        slice=fact.slice,
        benchmark=subject,
    )


def word_fact(
    key: str, words: dict[str, str], wrong: Sequence[str], forms: tuple[Sequence[str], Sequence[str]]
) -> Fact:
    """A fact whose sentences are forms with ``{place}``, ``{kind}`` and ``{value}``.

    Args:
        key: of the fact.
        words: what is filled in; ``value`` is the answer.
        wrong: other answers.
        forms: of statements, and of prompts.

    Returns:
        The fact.
    """
    statements, prompts = forms
    return Fact(
        key,
        tuple(form.format(**words) for form in statements),
        tuple(form.format(**words) for form in prompts),
        words["value"],
        tuple(wrong),
        words["kind"],
    )
