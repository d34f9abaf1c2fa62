"""Texts, scored by their NLL: items, and their grader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.encoding import Prepared, prepare_texts
from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.kinds.grader import Grade, plain_answer
from darwin_mri.benchmarks.rows import SumRows
from darwin_mri.benchmarks.scorer import Scorer


@dataclass(frozen=True, kw_only=True)
class TextItem(Item):
    """A passage of text.

    Attributes:
        text: what is predicted, token by token.
    """

    text: str

    @property
    def content(self) -> list[object]:
        """As ``Item``."""
        return [self.text]


class TextGrader:
    """Credit is the negated NLL per UTF-8 byte of a passage, in nats: it compares across tokenizers.

    Args:
        items: passages.
        scorer: of the model.
    """

    def __init__(self, items: Sequence[TextItem], scorer: ItemScorer) -> None:
        self.items, self.scorer = items, scorer
        prepared, self.sizes = tokenise(items, scorer.tokenizer)
        self.prepared = scorer.require_known(prepared)

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """As ``Grader``."""
        for index, scores in self.scorer.stream(self.prepared, indices):
            credit = float(scores[0]) / self.sizes[index]
            yield index, Grade(plain_answer(self.items[index], credit, protocol), credit)


def tokenise(items: Sequence[TextItem], tokenizer: PreTrainedTokenizerBase) -> tuple[Prepared, tuple[int, ...]]:
    """Token ids of passages, and the UTF-8 bytes behind the predicted ones."""
    return prepare_texts([(item.name, item.text) for item in items], tokenizer)


def text_rows(items: Sequence[TextItem], scorer: Scorer) -> SumRows:
    """Rows of the passages for a differentiable loss."""
    prepared, sizes = tokenise(items, scorer.tokenizer)
    return SumRows.make(prepared, sizes, scorer)


def text_lengths(items: Sequence[TextItem], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each passage."""
    prepared, _ = tokenise(items, tokenizer)
    return [prepared.longest(index) for index in range(len(prepared))]
