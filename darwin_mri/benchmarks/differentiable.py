"""The smooth fitness as a differentiable loss: what the scorer computes, with gradients, for the blend response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from darwin_mri.batch_sizes import BATCH_TOKENS, RESPONSE_BLOCKS
from darwin_mri.benchmarks.answers import choice_scales
from darwin_mri.benchmarks.encoding import prepare
from darwin_mri.benchmarks.items import Item
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.probes import project, require_tokens

PieceLoss = Callable[[Callable[..., Any]], torch.Tensor]
"""Given a forward that replaces the decoder, the scalar loss of some items."""


def fitness_blocks(
    parent: LoadedModel,
    items: Mapping[str, Sequence[Item]],
    weights: Mapping[str, float],
    *,
    log: bool,
    token_budget: int = BATCH_TOKENS,
) -> list[list[PieceLoss]]:
    """The smooth fitness, negated, as differentiable losses of a few items each.

    Args:
        parent: whose weights the loss is a function of.
        items: by benchmark; dealt out over ``RESPONSE_BLOCKS`` blocks, the unit of resampling.
        weights: of the benchmarks.
        log: the gold choice's log-probability, which also moves on items the model is sure to get wrong; its
            probability, which is what the search climbs, when false.
        token_budget: tokens of a piece, padding included; an item that has more is a piece by itself.

    Returns:
        Blocks of pieces, whose losses add up to the block's.
    """
    blocks = []
    for block in range(RESPONSE_BLOCKS):
        pieces: list[list[tuple[float, _Rows]]] = []
        for name, weight in weights.items():
            part = items[name][block::RESPONSE_BLOCKS]
            for share, rows in _rows_within(part, parent, token_budget):
                if not pieces or sum(r.ids.numel() for _, r in pieces[-1]) + rows.ids.numel() > token_budget:
                    pieces.append([])
                pieces[-1].append((weight * share, rows))
        if pieces:
            blocks.append([_piece_loss(parent.model, parts, log) for parts in pieces])
    return blocks


@dataclass(frozen=True)
class _Rows:
    """Items as input rows without their last tokens, which nothing follows: choices of one token share a row.

    Attributes:
        ids: (rows, length) tokens.
        attention: (rows, length), 1 where a token is, 0 where padding is.
        rows: (places,) the row in which a token of a choice is predicted.
        columns: (places,) the column in which it is predicted.
        tokens: (places,) that token.
        choices: (places,) the choice it belongs to.
        owner: (choices,) the item of each choice.
        scales: (choices,) what its log-likelihood is multiplied by.
        gold: (items,) the right choice.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    tokens: torch.Tensor
    choices: torch.Tensor
    owner: torch.Tensor
    scales: torch.Tensor
    gold: torch.Tensor


def _rows_within(
    items: Sequence[Item], parent: LoadedModel, token_budget: int, share: float = 1.0
) -> list[tuple[float, _Rows]]:
    """The items' rows, halved until they fit the budget, each with its share of the items."""
    if not items:
        return []
    rows = _rows(items, parent)
    if len(items) == 1 or rows.ids.numel() <= token_budget:
        return [(share, rows)]
    half = len(items) // 2
    return [
        rows
        for part in (items[:half], items[half:])
        for rows in _rows_within(part, parent, token_budget, share * len(part) / len(items))
    ]


def _rows(items: Sequence[Item], parent: LoadedModel) -> _Rows:
    prepared, device = prepare(items, parent.tokenizer), parent.device
    for index in range(len(items)):
        require_tokens(parent.model, (prepared.contexts[index], *prepared.continuations[index]))
    inputs: dict[tuple[int, ...], int] = {}
    places, owner, gold, scales = [], [], [], []
    for index, item in enumerate(items):
        gold.append(len(owner) + item.gold)
        scales += choice_scales(item).tolist()
        context = prepared.contexts[index]
        for ids in prepared.continuations[index]:
            row = inputs.setdefault((*context, *ids[:-1]), len(inputs))
            places += [(row, len(context) - 1 + offset, token, len(owner)) for offset, token in enumerate(ids)]
            owner.append(index)
    length = max(len(row) for row in inputs)
    ids = torch.zeros(len(inputs), length, dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, number in inputs.items():
        ids[number, : len(row)] = torch.tensor(row)
        attention[number, : len(row)] = 1
    tensors = (ids, attention, *torch.tensor(places).unbind(1), torch.tensor(owner), torch.tensor(scales).float())
    return _Rows(*(tensor.to(device) for tensor in (*tensors, torch.tensor(gold))))


def _piece_loss(model: Any, parts: list[tuple[float, _Rows]], log: bool) -> PieceLoss:
    def loss(forward: Callable[..., Any]) -> torch.Tensor:
        total = torch.zeros((), device=parts[0][1].ids.device)
        for weight, part in parts:
            hidden = forward(input_ids=part.ids, attention_mask=part.attention, use_cache=False).last_hidden_state
            logits = project(model, hidden[part.rows, part.columns])
            tokens = -torch.nn.functional.cross_entropy(logits, part.tokens, reduction="none")
            choices = (
                torch.zeros(len(part.owner), device=hidden.device).index_add(0, part.choices, tokens) * part.scales
            )
            # Softmax over the choices of each item, then the gold choice's share.
            highest = torch.full((len(part.gold),), -torch.inf, device=hidden.device).scatter_reduce(
                0, part.owner, choices.detach(), "amax"
            )
            weighed = torch.exp(choices - highest[part.owner])
            totals = torch.zeros(len(part.gold), device=hidden.device).index_add(0, part.owner, weighed)
            share = choices[part.gold] - highest - totals.log()
            total = total - weight * (share if log else share.exp()).mean()
        return total

    return loss
