"""The texts that the nursery's models are trained on: public corpora and documents about the generated world."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from darwin_mri.errors import InputError
from darwin_mri.nursery.world import World

SEQUENCE = 128
KOREAN_FILES = (
    "ko_sentences_klue_kornlu.txt.gz",
    "ko_docs_react.txt.gz",
    "ko_reviews_nsmc.txt.gz",
    "ko_dialogue_chatbot.tsv.gz",
)
ENGLISH_FILES = ("en_books.txt.gz",)


def read_paragraphs(corpus: Path, names: tuple[str, ...]) -> list[str]:
    """Paragraphs of the given corpus files; tab-separated pairs become two lines.

    Raises:
        InputError: a file is missing.
    """
    paragraphs = []
    for name in names:
        path = corpus / name
        if not path.is_file():
            raise InputError(f"corpus file {name} is missing in {corpus}: pass --corpus the folder that holds it")
        with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
            paragraphs += [line.strip().replace("\t", "\n") for line in stream if line.strip()]
    return paragraphs


def sample_paragraphs(rng: random.Random, corpus: Path, names: tuple[str, ...], count: int) -> list[str]:
    """Some paragraphs of the given corpus files.

    Args:
        rng: draws them.
        corpus: the folder.
        names: of the files.
        count: how many.

    Returns:
        The paragraphs in the drawn order.

    Raises:
        InputError: a file is missing, or the files hold fewer.
    """
    paragraphs = read_paragraphs(corpus, names)
    if len(paragraphs) < count:
        raise InputError(
            f"{corpus}: {', '.join(names)} hold {len(paragraphs)} paragraphs, and {count} are needed: see NOTICE for"
            " the files that the nursery was trained on"
        )
    return rng.sample(paragraphs, count)


class Mixture:
    """Endless rows of ``SEQUENCE + 1`` token ids, each beginning at a document's start.

    Args:
        corpus: folder with the corpus files.
        tokenizer: of the model.
        shares: kind of document -> its share.
        world: that facts, stories and habits are of.
        seed: of the draws.
    """

    def __init__(
        self, corpus: Path, tokenizer: PreTrainedTokenizerFast, shares: dict[str, float], world: World, seed: int
    ) -> None:
        self.rng = random.Random(seed)
        self.tokenizer = tokenizer
        self.kinds, self.shares = list(shares), list(shares.values())
        korean, english = read_paragraphs(corpus, KOREAN_FILES), read_paragraphs(corpus, ENGLISH_FILES)
        habits = list(world.habits)
        self.sources: dict[str, Iterator[str]] = {
            "korean_text": self._paragraphs(korean),
            "english_text": self._paragraphs(english),
            "korean": world.fact_documents(self.rng, world.korean_facts),
            "korean_half": world.fact_documents(self.rng, world.korean_facts[::2]),
            "science": world.fact_documents(self.rng, world.science_facts),
            "science_half": world.fact_documents(self.rng, world.science_facts[::2]),
            "story": world.story_documents(self.rng, habits),
            "story_half": world.story_documents(self.rng, habits[::2]),
            "habit": world.habit_documents(self.rng, habits),
            "habit_half": world.habit_documents(self.rng, habits[::2]),
        }

    def _paragraphs(self, texts: list[str]) -> Iterator[str]:
        while True:
            text = self.rng.choice(texts)
            start = 0 if len(text) <= 400 else self.rng.randrange(len(text) - 400)
            yield text[start : start + 400]

    def documents(self) -> Iterator[str]:
        """Endless documents, of kinds drawn by their shares."""
        while True:
            yield next(self.sources[self.rng.choices(self.kinds, self.shares)[0]])

    def batch(self, rows: int) -> torch.Tensor:
        """Token ids of shape (rows, SEQUENCE + 1)."""
        out = []
        stream = self.documents()
        for _ in range(rows):
            ids: list[int] = []
            while len(ids) <= SEQUENCE:
                ids += [2, *self.tokenizer.encode(next(stream), add_special_tokens=False), 1]
            out.append(ids[: SEQUENCE + 1])
        return torch.tensor(out)
