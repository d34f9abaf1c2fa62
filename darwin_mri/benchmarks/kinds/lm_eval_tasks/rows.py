"""Documents of lm-eval tasks as rows whose loss has slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.kinds.lm_eval_tasks.encoding import Encoded, Scoring, encode_items
from darwin_mri.benchmarks.kinds.lm_eval_tasks.items import ScoredItem
from darwin_mri.benchmarks.kinds.lm_eval_tasks.metrics import length_scales
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import Tokens, model_length
from darwin_mri.benchmarks.rows import ChoiceRows, Forward, Rows, SumRows
from darwin_mri.benchmarks.scorer import Scorer


@dataclass(frozen=True)
class SharedRows:
    """Rows of several sorts: the score is their mean, each with its share of the items.

    Attributes:
        parts: (rows, share).
    """

    parts: tuple[tuple[Rows, float], ...]

    @property
    def tokens(self) -> int:
        """As ``Rows``."""
        return sum(rows.tokens for rows, _ in self.parts)

    def loss(self, model: Any, forward: Forward, *, log: bool) -> torch.Tensor:
        """As ``Rows``.

        Args:
            model: with the output head.
            forward: replaces the decoder.
            log: the logarithm of a score that is a probability.

        Returns:
            A scalar.
        """
        return torch.stack([share * rows.loss(model, forward, log=log) for rows, share in self.parts]).sum()


def lm_eval_rows(items: Sequence[ScoredItem], scorer: Scorer) -> SharedRows:
    """Rows of the documents for a differentiable loss.

    Of documents with choices the score is the right choice's probability; of others a log-probability, of a text per
    byte or word as its metric says, of a target per token, or as a sum where perplexity is the metric.
    """
    longest = model_length(scorer.config, scorer.tokenizer)
    encoded = encode_items(items, Tokens(scorer.tokenizer), longest)
    chosen = [number for number, item in enumerate(items) if item.choices]
    summed = [number for number, item in enumerate(items) if not item.choices]
    parts: list[tuple[Rows, float]] = []
    if chosen:
        parts.append((_choice_rows(items, encoded, chosen, scorer), len(chosen) / len(items)))
    if summed:
        parts.append((_sum_rows(items, encoded, summed, scorer), len(summed) / len(items)))
    return SharedRows(tuple(parts))


def _choice_rows(items: Sequence[ScoredItem], encoded: Encoded, chosen: Sequence[int], scorer: Scorer) -> ChoiceRows:
    pairs: dict[tuple[int, int], tuple[tuple[int, ...], tuple[int, ...]]] = {
        (part.item, request): (part.context, ids)
        for part in encoded.scorings
        for request, ids in zip(part.requests, part.continuations, strict=True)
    }
    # One row for each choice, in their order; requests beyond them are the choices without a context.
    ordered = [(number, pairs[number, choice]) for number in chosen for choice in range(len(items[number].choices))]
    prepared = Prepared(
        tuple(items[number].name for number, _ in ordered),
        tuple(context for _, (context, _) in ordered),
        tuple((ids,) for _, (_, ids) in ordered),
    )
    scales = [length_scales(items[number].metric, items[number].choices).tolist() for number in chosen]
    gold = [items[number].golds[0] for number in chosen]
    return ChoiceRows.make(prepared, gold, scales, scorer)


def _sum_rows(items: Sequence[ScoredItem], encoded: Encoded, summed: Sequence[int], scorer: Scorer) -> SumRows:
    kept = set(summed)
    part_of = Encoded(encoded.instances, [part for part in encoded.scorings if part.item in kept])
    sizes = [_size(items[part.item], encoded.instances[part.item][0], part) for part in part_of.scorings]
    # A text of several windows has one score, their sum; the rows take the mean over windows.
    share = len(kept) / len(sizes)
    return SumRows.make(part_of.prepared(items), [size * share for size in sizes], scorer)


def _size(item: ScoredItem, instance: Any, part: Scoring) -> float:
    """What a document's log-probability is divided by."""
    if instance.request_type == "loglikelihood":
        return 1.0 if item.unit else float(len(part.continuations[0]))
    task, text = item.subtask.task, item.subtask.task.doc_to_target(item.subtask.docs[item.number])
    return float(task.count_words(text) if item.metric[0] == "word_perplexity" else task.count_bytes(text))
