"""How much a run reads: texts and items counted where they are at hand, else what is usual for a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from darwin_mri.benchmarks import ChoiceItem, Item
from darwin_mri.config import Config
from darwin_mri.errors import DarwinError
from darwin_mri.planning.activations import CHOICES, LETTERED, item_tokens
from darwin_mri.probes import Probe, load_probes, select_probes

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


@dataclass(frozen=True)
class TokenCounts:
    """What a run's models read.

    Attributes:
        probes: the scan's texts.
        tokens: (probes,) of each, cut as the scan cuts them.
        items: benchmark -> the length of its items, where they are at hand.
        donor_tokens: of the texts that an arm's donors are built from; None where they were not counted.
        written_tokens: of the prompts that parents complete for it, with their completions; None likewise.
    """

    probes: Sequence[Probe]
    tokens: np.ndarray
    items: Mapping[str, ItemLength]
    donor_tokens: float | None = None
    written_tokens: float | None = None

    def item(self, name: str) -> ItemLength:
        """Length of a benchmark's mean item."""
        return self.items.get(name) or usual_length(name)

    def group_tokens(self, name: str) -> float:
        """Tokens of the texts of a language or domain."""
        own = [name in (probe.language, probe.domain) for probe in self.probes]
        return float(self.tokens[np.array(own, dtype=bool)].sum())


def count_texts(probes: Sequence[Probe], max_tokens: int, tokenizer: Any = None) -> np.ndarray:
    """Tokens of each text, cut to so many.

    Args:
        probes: the texts.
        max_tokens: of each at most.
        tokenizer: the father's; four bytes a token without it.

    Returns:
        (probes,).
    """
    texts = [probe.text for probe in probes]
    if tokenizer is None or not texts:
        counted = [len(text.encode()) / 4 for text in texts]
    else:
        counted = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return np.minimum(np.array(counted, dtype=float), max_tokens)


def usual_counts(config: Config) -> TokenCounts:
    """Where no tokenizer is at hand; nothing of texts that cannot be read, which a run refuses by itself."""
    try:
        probes = load_probes(Path(config.scan.probes) if config.scan.probes else None)
        probes = select_probes(probes, config.scan.languages, config.scan.documents, config.seed)
    except DarwinError:
        probes = ()
    return TokenCounts(probes, count_texts(probes, config.scan.max_tokens), {})
