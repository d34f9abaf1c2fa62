"""Kinds of tasks: each has its items, and a grader that scores them under a model as it is at the time of the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.items import ChoiceItem, Item
from darwin_mri.benchmarks.kinds.agreement import AgreementGrader, AgreementItem, agreement_rows
from darwin_mri.benchmarks.kinds.choices import ChoiceGrader, choice_lengths, choice_rows
from darwin_mri.benchmarks.kinds.grader import Grade, Grader
from darwin_mri.benchmarks.kinds.lm_eval_tasks import (
    LmEvalGrader,
    LmEvalItem,
    ScoredItem,
    lm_eval_lengths,
    lm_eval_rows,
)
from darwin_mri.benchmarks.kinds.open_answers import OpenGrader, OpenItem, open_lengths
from darwin_mri.benchmarks.kinds.texts import TextGrader, TextItem, text_lengths, text_rows
from darwin_mri.benchmarks.rows import Rows
from darwin_mri.benchmarks.scorer import Scorer

__all__ = ["Grade", "Grader", "OpenItem", "TextItem", "differentiable", "make_rows", "open_grader", "read_lengths"]

GRADERS: dict[type[Item], Callable[[Sequence, ItemScorer], Grader]] = {
    ChoiceItem: ChoiceGrader,
    TextItem: TextGrader,
    AgreementItem: AgreementGrader,
    OpenItem: OpenGrader,
    LmEvalItem: LmEvalGrader,
    ScoredItem: LmEvalGrader,
}
ROWS: dict[type[Item], Callable[[Sequence, Scorer], Rows]] = {
    ChoiceItem: choice_rows,
    TextItem: text_rows,
    AgreementItem: agreement_rows,
    ScoredItem: lm_eval_rows,
}
LENGTHS: dict[type[Item], Callable[[Sequence, PreTrainedTokenizerBase], list[int]]] = {
    ChoiceItem: choice_lengths,
    TextItem: text_lengths,
    AgreementItem: text_lengths,
    OpenItem: open_lengths,
    LmEvalItem: lm_eval_lengths,
    ScoredItem: lm_eval_lengths,
}


def differentiable(items: Sequence[Item]) -> bool:
    """Whether the items' scores have slopes."""
    return bool(items) and type(items[0]) in ROWS


def make_rows(items: Sequence[Item], scorer: Scorer) -> Rows:
    """Items of a differentiable kind as rows whose loss has slopes.

    Args:
        items: at least one, all of one kind.
        scorer: of the model whose tokens they are, and on whose device.

    Returns:
        The rows.
    """
    return ROWS[type(items[0])](items, scorer)


def open_grader(items: Sequence[Item], scorer: ItemScorer) -> Grader:
    """The grader of a task's items.

    Args:
        items: at least one, all of one kind.
        scorer: of the model.

    Returns:
        The grader.

    Raises:
        InputError: the tokenizer gives tokens that the model does not have, or an item cannot be tokenised.
    """
    return GRADERS[type(items[0])](items, scorer)


def read_lengths(items: Sequence[Item], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that a model holds of each item at most, what it generates among them."""
    return LENGTHS[type(items[0])](items, tokenizer)
