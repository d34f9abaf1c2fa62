"""Open answers: a model continues a prompt, and a matcher compares its text with the known answers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from string import ascii_uppercase

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.chat import render_chat
from darwin_mri.benchmarks.decoding import Sampling
from darwin_mri.benchmarks.encoding import encode
from darwin_mri.benchmarks.generation import END_OF_THINKING, Reply, inside_thought, read_letter
from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.kinds.grader import Grade, plain_answer

NUMBER = re.compile(r"[-+\N{MINUS SIGN}]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True)
class OpenItem(Item):
    """A prompt whose answer is written by the model.

    Attributes:
        prompt: what is continued.
        answers: any of them is right: texts, numbers, patterns or letters, as ``match`` says.
        match: name of the matcher, a key of ``MATCHERS``.
        sampling: how the answer is drawn and where it ends.
        chat: the prompt is a user's message, rendered by the model's chat template.
    """

    prompt: str
    answers: tuple[str, ...]
    match: str
    sampling: Sampling
    chat: bool = False

    @property
    def content(self) -> list[object]:
        """As ``Item``."""
        return [self.prompt, list(self.answers), self.match]


class OpenGrader:
    """Credit is the share of an item's texts that match one of its answers.

    Args:
        items: prompts with answers.
        scorer: of the model.
    """

    def __init__(self, items: Sequence[OpenItem], scorer: ItemScorer) -> None:
        self.items, self.decoder = items, scorer.decoder()
        self.prompts = prompt_tokens(items, scorer.tokenizer)

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """As ``Grader``."""
        for index, replies in self.decoder.stream(self.prompts, indices, self.items[0].sampling):
            item = self.items[index]
            credit = sum(is_right(item, reply) for reply in replies) / len(replies)
            answer = plain_answer(item, credit, protocol)
            reasons = tuple(reply.finish_reason for reply in replies)
            yield index, Grade(answer.model_copy(update={"finish_reasons": reasons}), credit)


def prompt_tokens(items: Sequence[OpenItem], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each item's prompt."""
    texts = [
        render_chat(tokenizer, item.prompt, item.name, thinking=False).text if item.chat else item.prompt
        for item in items
    ]
    return encode(texts, tokenizer)


def open_lengths(items: Sequence[OpenItem], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each prompt with the longest answer."""
    return [len(ids) + items[0].sampling.max_new_tokens for ids in prompt_tokens(items, tokenizer)]


def is_right(item: OpenItem, reply: Reply) -> bool:
    """Whether a reply matches one of the item's answers; a reply inside an open thought is none."""
    if inside_thought(reply.text, reply.thinks):
        return False
    text = reply.text
    for marker in END_OF_THINKING:
        text = text.rpartition(marker)[2]
    return any(MATCHERS[item.match](text.strip(), answer) for answer in item.answers)


def match_exact(text: str, answer: str) -> bool:
    """The same text, but for case, white space, and a full stop at the end."""
    return _plain(text) == _plain(answer)


def match_number(text: str, answer: str) -> bool:
    """The last number of the text is the answer's."""
    numbers = NUMBER.findall(text)
    last, right = to_number(numbers[-1]) if numbers else None, to_number(answer)
    return last is not None and right is not None and math.isclose(last, right, rel_tol=1e-9, abs_tol=1e-12)


def match_regex(text: str, answer: str) -> bool:
    """The answer, a regular expression, occurs in the text."""
    return re.search(answer, text) is not None


def match_contains(text: str, answer: str) -> bool:
    """The answer occurs in the text, whatever the case."""
    return _plain(answer) in _plain(text)


def match_letter(text: str, answer: str) -> bool:
    """The text names the letter: "C", "C. the choice", "The answer is C"."""
    named = read_letter(text, len(ascii_uppercase))
    return named is not None and ascii_uppercase[named] == answer.strip().upper()


MATCHERS: Mapping[str, Callable[[str, str], bool]] = {
    "exact": match_exact,
    "number": match_number,
    "regex": match_regex,
    "contains": match_contains,
    "letter": match_letter,
}


def answer_fault(match: str, answer: str) -> str:
    """Why a matcher cannot compare with an answer; empty where it can."""
    if match == "number" and to_number(answer) is None:
        return f"its answer is no number, as match '{match}' needs"
    if match == "letter" and not re.fullmatch(r"\s*[A-Za-z]\s*", answer):
        return f"its answer is not one letter, as match '{match}' needs"
    if match == "regex":
        try:
            re.compile(answer)
        except (re.error, RecursionError, OverflowError) as error:
            return f"its answer is a regular expression that does not compile ({error})"
    return ""


def to_number(text: str) -> float | None:
    """The number that a text is, thousands separated by commas allowed; None where it is none."""
    try:
        return float(Decimal(text.strip().replace(",", "").replace("\N{MINUS SIGN}", "-")))
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _plain(text: str) -> str:
    return " ".join(text.split()).removesuffix(".").strip().casefold()
