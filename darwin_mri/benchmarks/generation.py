"""Generated answers: the message to a chat model, the letter read from its reply, and the vote over samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np

from darwin_mri.benchmarks.answers import best_choice
from darwin_mri.benchmarks.items import ChoiceItem, item_hash, lettered
from darwin_mri.records import Answer, Protocol, is_finished

# What stands before the last end of thinking is thought, not answer; so is all where a beginning has no end.
END_OF_THINKING = ("</think>", "<channel|>", "[/THINK]", "</thought>", "</reasoning>")
BEGIN_OF_THINKING = ("<think>", "<|channel>", "[THINK]", "<thought>", "<reasoning>")
BOXED = re.compile(r"\\boxed\s*\{")  # as good as "Answer:"
MARKUP = re.compile(r"\\[a-zA-Z]+\s*\{|\\[()\[\]]|[*_`$}\"'“”‘’\u200b]")
# One letter, not "A or B".
LETTER = r"[(\[]?([A-Z])(?![A-Za-z])(?!\s*(?:/|,|(?i:or|and|또는)\b)\s*[(\[]?[A-Z](?![A-Za-z]))"
# "Answer: C", "The answer is (C)", "정답은 C", "Answer = option C"; "Answer C" and "### Answer", "C" only as lines of
# their own.
STATED = re.compile(
    rf"(?:(?i:\banswer)|정답|(?<!\w)답)\s*(?:(?i:is)\b|은|는|[:：=])(?:[\s:：]|(?i:option|choice)\b)*{LETTER}"
    rf"|^\W*(?:(?i:(?:final )?answer)|정답)\s+[(\[]?([A-Z])\W*$",
    re.MULTILINE,
)
BARE = re.compile(r"\s*[(\[]?([A-Z])(?:[\s).\]:]*|[).\]:] .*)")  # nothing but the letter, or one line "C. the choice"


class Reply(NamedTuple):
    """What a model wrote.

    Attributes:
        text: without its prompt; marks of thinking are part of it.
        finish_reason: how it ended, as engines name it ("stop", "length", ...); empty where the engine does not tell.
        thinks: whether it begins inside a thought, which the prompt has opened.
    """

    text: str
    finish_reason: str = ""
    thinks: bool = False


def chat_message(item: ChoiceItem, protocol: Protocol) -> str:
    """The user message: question, lettered choices, and the protocol's instruction."""
    question = item.message or f"{item.context}\n{lettered(item.choices)}"
    return f"{question}\n\n{protocol.prompt.format(letters=', '.join(ascii_uppercase[: len(item.choices)]))}"


def inside_thought(text: str, thinks: bool = False) -> bool:
    """Whether a text ends inside a thought; ``thinks``: it begins inside one."""
    begin = max(text.rfind(marker) for marker in BEGIN_OF_THINKING)
    end = max(text.rfind(marker) for marker in END_OF_THINKING)
    return begin > end or (thinks and end < 0)


def read_reply(reply: Reply, choices: int) -> int | None:
    """Index of the choice that a reply names, None where it names none or more than one.

    Only what was finished as an answer counts: nothing of a reply that was cut off, whatever it stated before, or of a
    thought that has no end; else the text after the last end of thinking.
    """
    if not is_finished(reply.finish_reason) or inside_thought(reply.text, reply.thinks):
        return None
    text = reply.text
    for marker in END_OF_THINKING:
        text = text.rpartition(marker)[2]
    return read_letter(text, choices)


def read_letter(text: str, choices: int) -> int | None:
    r"""Index of the choice that an answer names, None where it names none or more than one.

    The last stated answer ("Answer: C", "\boxed{C}") is taken, else a text that is a bare letter, or one line that
    begins with it ("C. the choice").
    """
    text = MARKUP.sub("", BOXED.sub(" answer: ", text)).strip()
    letters = ascii_uppercase[:choices]
    stated = [letter for groups in STATED.findall(text) for letter in groups if letter in letters and letter]
    if stated:
        return letters.index(stated[-1])
    bare = BARE.fullmatch(text)
    return letters.index(bare[1]) if bare and bare[1] in letters else None


def to_voted_answer(item: ChoiceItem, replies: Sequence[Reply], protocol: Protocol) -> Answer:
    """One answer from the samples of an item: the choice that most of them name.

    Ties share the credit; where no sample names a choice, none is earned.

    Args:
        item: the item.
        replies: one per sample; of their texts nothing is kept.
        protocol: its headline is acc or maj@k; with k samples their mean accuracy is kept beside it as mean@k.

    Returns:
        The answer, with the votes of each choice and how each reply ended.
    """
    named = [read_reply(reply, len(item.choices)) for reply in replies]
    votes = np.bincount([choice for choice in named if choice is not None], minlength=len(item.choices))
    choice, credit = best_choice(votes, item.gold) if votes.any() else (-1, 0.0)
    samples = len(replies)
    metrics = {protocol.metric: credit, f"mean@{samples}": votes[item.gold] / samples} if samples > 1 else {}
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
        finish_reasons=tuple(reply.finish_reason for reply in replies),
    )
