"""Agreement: how near a model's predictions are to a parent's, on text without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from darwin_mri.benchmarks.batching import lay_out
from darwin_mri.benchmarks.encoding import Prepared
from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.kinds.grader import Grade, plain_answer
from darwin_mri.benchmarks.kinds.texts import TextItem, tokenise
from darwin_mri.benchmarks.rows import Forward, ReadRows, TokenRows
from darwin_mri.benchmarks.scorer import Scorer
from darwin_mri.errors import InputError

KEPT = 128  # most probable tokens of a prediction that are kept one by one; all others count as one


@dataclass(frozen=True)
class Target:
    """A parent's predictions of a passage, its most probable tokens and the share of all others together.

    Attributes:
        tokens: (positions, kept) token ids.
        log_probabilities: (positions, kept) in nats, float32.
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray


@dataclass(frozen=True, kw_only=True)
class AgreementItem(TextItem):
    """A passage on which a model is compared with a parent.

    Attributes:
        partner: ``better``, or the role of the parent.
        target: that parent's predictions; None until they are measured.
    """

    partner: str
    target: Target | None = None

    @property
    def content(self) -> list[object]:
        """As ``Item``; the predictions follow from text and parents."""
        return [self.text, self.partner]


class AgreementGrader:
    """Credit is the negated KL divergence from the parent's prediction to the model's, in nats per token.

    KL(p || q) = sum_k p_k log(p_k / q_k) over the parent's ``KEPT`` most probable tokens and over all others as one
    outcome: a lower bound of the divergence over the whole vocabulary, and equal to it where that is no larger.

    Args:
        items: passages with their targets.
        scorer: of the model.
    """

    def __init__(self, items: Sequence[AgreementItem], scorer: ItemScorer) -> None:
        if not isinstance(scorer, Scorer):
            raise InputError(f"{items[0].name}: agreement needs whole predictions, which only a resident model gives")
        self.items, self.scorer = items, scorer
        prepared, _ = tokenise(items, scorer.tokenizer)
        self.prepared = scorer.require_known(prepared)
        self.targets = [require_target(item, prepared, index) for index, item in enumerate(items)]

    def grades(self, indices: Sequence[int], protocol: str = "") -> Iterator[tuple[int, Grade]]:
        """As ``Grader``."""

        def read(batch: Sequence[int]) -> list[float]:
            tokens, logs, owner = _stacked([self.targets[index] for index in batch])
            values = np.empty(len(owner))
            for part, logits in self.scorer.logits(lay_out(self.prepared, batch)):
                kept, log_p = (torch.from_numpy(array[part]).to(logits.device) for array in (tokens, logs))
                values[part] = divergences(logits, kept, log_p).double().cpu().numpy()
            return (np.bincount(owner, values, len(batch)) / np.bincount(owner, minlength=len(batch))).tolist()

        for index, divergence in self.scorer.stream_batches(self.prepared, indices, read):
            yield index, Grade(plain_answer(self.items[index], -divergence, protocol), -divergence)


@dataclass(frozen=True)
class AgreementRows(ReadRows):
    """Passages with the predictions to agree with: the score is the negated divergence per token.

    Attributes:
        of: their tokens.
        kept: (places, kept) tokens of the predictions.
        log_p: (places, kept) their log-probabilities.
        shares: (places,) what each place adds to the mean over passages.
    """

    kept: torch.Tensor
    log_p: torch.Tensor
    shares: torch.Tensor

    def loss(self, model: Any, forward: Forward, *, log: bool) -> torch.Tensor:
        """As ``Rows``.

        Args:
            model: with the output head.
            forward: replaces the decoder.
            log: changes nothing, a divergence is a mean of logarithms already.

        Returns:
            A scalar.
        """
        return (divergences(self.of.logits(model, forward), self.kept, self.log_p) * self.shares).sum()


def agreement_rows(items: Sequence[AgreementItem], scorer: Scorer) -> AgreementRows:
    """Rows of the passages for a differentiable loss."""
    prepared, _ = tokenise(items, scorer.tokenizer)
    targets = [require_target(item, prepared, index) for index, item in enumerate(items)]
    tokens, logs, owner = _stacked(targets)
    shares = 1 / np.bincount(owner)[owner] / len(items)
    kept, log_p, weights = (torch.from_numpy(array).to(scorer.model.device) for array in (tokens, logs, shares))
    rows = TokenRows.of(prepared, scorer)
    return AgreementRows(rows, kept, log_p, weights.float())


def divergences(logits: torch.Tensor, kept: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """KL divergence of each prediction from its target, the tokens that are not kept as one outcome.

    Args:
        logits: (places, vocabulary) of the model.
        kept: (places, kept) tokens of the target.
        log_p: (places, kept) their log-probabilities.

    Returns:
        (places,) nats, at least 0.
    """
    log_q = logits.log_softmax(-1).gather(-1, kept.long())
    value = (log_p.exp() * (log_p - log_q)).sum(-1)
    if kept.shape[-1] < logits.shape[-1]:
        rest_p, rest_q = ((1 - logs.exp().sum(-1)).clamp(min=1e-7) for logs in (log_p, log_q))
        value = value + rest_p * (rest_p.log() - rest_q.log())
    return value.clamp(min=0.0)


def measure_targets(items: Sequence[AgreementItem], scorer: Scorer) -> list[tuple[Target, float]]:
    """A parent's predictions of passages, and its NLL per byte of each.

    Args:
        items: n passages.
        scorer: of the parent.

    Returns:
        n of (target, NLL per byte).
    """
    prepared, sizes = tokenise(items, scorer.tokenizer)
    prepared = scorer.require_known(prepared)

    def read(batch: Sequence[int]) -> list[tuple[Target, float]]:
        layout = lay_out(prepared, batch)
        right = torch.tensor([token for _, token in layout.queries])
        tokens, logs, losses = [], [], []
        for part, logits in scorer.logits(layout):
            log_p = logits.log_softmax(-1)
            top = log_p.topk(min(KEPT, log_p.shape[-1]), -1)
            tokens.append(top.indices.int().cpu().numpy())
            logs.append(top.values.cpu().numpy())
            losses.append(-log_p.gather(-1, right[part, None].to(log_p.device))[:, 0].double().cpu().numpy())
        ends = np.cumsum([len(prepared.continuations[index][0]) for index in batch])[:-1]
        parts = zip(*(np.split(np.concatenate(whole), ends) for whole in (tokens, logs, losses)), strict=True)
        return [
            (Target(kept, log_p), float(loss.sum()) / sizes[index])
            for index, (kept, log_p, loss) in zip(batch, parts, strict=True)
        ]

    measured = dict(scorer.stream_batches(prepared, None, read))
    return [measured[index] for index in range(len(items))]


def agreement_items(passages: Sequence[TextItem], partner: str) -> tuple[AgreementItem, ...]:
    """Passages as items whose target is still to be measured.

    Args:
        passages: of text.
        partner: ``better``, or the role of the parent to agree with.

    Returns:
        The items.
    """
    return tuple(AgreementItem(**vars(passage), partner=partner) for passage in passages)


def with_target(item: AgreementItem, target: Target) -> AgreementItem:
    """The item with the predictions to agree with."""
    return replace(item, target=target)


def require_target(item: AgreementItem, prepared: Prepared, index: int) -> Target:
    """The item's target.

    Args:
        item: the item.
        prepared: the tokens of its task's items.
        index: its number among them.

    Returns:
        The target.

    Raises:
        InputError: there is none, or it was measured with other tokens.
    """
    target = item.target
    if target is None:
        raise InputError(f"{item.name}: agreement with a parent is measured inside a run: use breed or scan")
    if len(target.tokens) != len(prepared.continuations[index][0]):
        raise InputError(f"{item.name}: the models cut this text into different tokens, so they cannot be compared")
    return target


def _stacked(targets: Sequence[Target]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens and log-probabilities of all positions, and the number of each position's passage."""
    owner = np.repeat(np.arange(len(targets)), [len(target.tokens) for target in targets])
    return (
        np.concatenate([target.tokens for target in targets]),
        np.concatenate([target.log_probabilities for target in targets]),
        owner,
    )
