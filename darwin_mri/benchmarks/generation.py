"""Generated answers: the message a chat model is sent, the letter read from what it writes, and the vote over samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np

from darwin_mri.benchmarks.answers import best_choice
from darwin_mri.benchmarks.items import Item, item_hash, lettered
from darwin_mri.records import Answer, Protocol

# Whatever stands before the last of these is thought, not answer.
END_OF_THINKING = ("</think>", "<channel|>", "[/THINK]", "</thought>", "</reasoning>")
# "Answer: C", "The answer is (C)", "**정답: C**", "정답은 C", "Answer: \boxed{C}"; the last one counts.
STATED = re.compile(
    r"(?i:\banswer|정답)(?i:\s+is|\s*은|\s*는)?\s*[:：]?[\s*_$`]*(?:\\(?:boxed|text|mathrm)\{)*[(\[]?([A-Z])(?![A-Za-z])"
)
BARE = re.compile(r"[\s*(\[`$]*([A-Z])[\s*)\].`$:]*")  # an answer that is nothing but its letter


def chat_message(item: Item, protocol: Protocol) -> str:
    """The user message: question, lettered choices, and the protocol's instruction."""
    question = item.message or f"{item.context}\n{lettered(item.choices)}"
    return f"{question}\n\n{protocol.prompt.format(letters=', '.join(ascii_uppercase[: len(item.choices)]))}"


def read_letter(text: str, choices: int) -> int | None:
    """Index of the choice that a generated text names, None where it names none.

    The text after the last end of thinking counts. The last stated answer ("Answer: C") is taken, else a text that is a bare letter.
    """
    for marker in END_OF_THINKING:
        text = text.rpartition(marker)[2]
    stated = [letter for letter in STATED.findall(text) if letter in ascii_uppercase[:choices]]
    if stated:
        return ascii_uppercase.index(stated[-1])
    bare = BARE.fullmatch(text)
    return ascii_uppercase.index(bare[1]) if bare and bare[1] in ascii_uppercase[:choices] else None


def to_voted_answer(item: Item, texts: Sequence[str], protocol: Protocol) -> Answer:
    """One answer from the samples of an item: the choice most of them name; ties share the credit, no named choice earns none.

    Args:
        item: the item.
        texts: one generated text per sample; not kept.
        protocol: its headline is acc or maj@k; with k samples their mean accuracy is kept beside it as mean@k.
    """
    named = [read_letter(text, len(item.choices)) for text in texts]
    votes = np.bincount([choice for choice in named if choice is not None], minlength=len(item.choices))
    choice, credit = best_choice(votes, item.gold) if votes.any() else (-1, 0.0)
    metrics = {protocol.metric: credit, f"mean@{len(texts)}": votes[item.gold] / len(texts)} if len(texts) > 1 else {}
    return Answer(
        key=item_hash(item),
        cluster=item.cluster,
        slice=item.slice,
        gold=item.gold,
        choice=choice,
        credit=credit,
        protocol=protocol.hash,
        choices=len(item.choices),
        metrics=metrics,
        votes=tuple(int(v) for v in votes),
    )
