"""Questions with choices: the log-probability of each choice after the question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.answers import choice_scales, gold_probability, to_answers
from darwin_mri.benchmarks.encoding import prepare
from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.items import ChoiceItem
from darwin_mri.benchmarks.kinds.grader import Grade
from darwin_mri.benchmarks.rows import ChoiceRows
from darwin_mri.benchmarks.scorer import Scorer


class ChoiceGrader:
    """Credit for the most probable choice; smooth is the probability of the right one among them.

    Args:
        items: with choices.
        scorer: of the model.
    """

    def __init__(self, items: Sequence[ChoiceItem], scorer: ItemScorer) -> None:
        self.items, self.scorer = items, scorer
        self.prepared = scorer.prepare(items)

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """As ``Grader``."""
        for index, scores in self.scorer.stream(self.prepared, indices):
            one = [self.items[index]]
            answer = to_answers(one, [scores], protocol)[0]
            yield index, Grade(answer, float(gold_probability(one, [scores])[0]))


def choice_rows(items: Sequence[ChoiceItem], scorer: Scorer) -> ChoiceRows:
    """Rows of the items for a differentiable loss."""
    prepared = prepare(items, scorer.tokenizer)
    scales = [choice_scales(item).tolist() for item in items]
    return ChoiceRows.make(prepared, [item.gold for item in items], scales, scorer)


def choice_lengths(items: Sequence[ChoiceItem], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of each item's context with its longest choice."""
    prepared = prepare(items, tokenizer)
    return [prepared.longest(index) for index in range(len(prepared))]
