"""The fitness as a differentiable loss, for the blend response."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from darwin_mri.batch_sizes import BATCH_TOKENS, RESPONSE_BLOCKS
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.kinds import make_rows
from darwin_mri.benchmarks.rows import Rows
from darwin_mri.benchmarks.scorer import Scorer
from darwin_mri.checkpoints import LoadedModel

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
        items: by task, of differentiable kinds; their clusters are dealt out over ``RESPONSE_BLOCKS`` blocks, the unit
            of resampling.
        weights: of the tasks.
        log: the logarithm of scores that are probabilities, which also moves on items the model is sure to get wrong;
            the score that the search climbs when false.
        token_budget: tokens of a piece, padding included; an item that has more is a piece by itself.

    Returns:
        Blocks of pieces, whose losses add up to the block's.
    """
    scorer = Scorer(parent.model, parent.tokenizer, beyond_context=True)
    blocks, dealt = [], {name: deal(items[name], RESPONSE_BLOCKS) for name in weights}
    for block in range(RESPONSE_BLOCKS):
        pieces: list[list[tuple[float, Rows]]] = []
        for name, weight in weights.items():
            part = dealt[name][block]
            for share, rows in _rows_within(part, scorer, token_budget):
                if not pieces or sum(r.tokens for _, r in pieces[-1]) + rows.tokens > token_budget:
                    pieces.append([])
                pieces[-1].append((weight * share, rows))
        if pieces:
            blocks.append([_piece_loss(parent.model, parts, log) for parts in pieces])
    return blocks


def deal(items: Sequence[Item], blocks: int) -> list[list[Item]]:
    """Items by block, each cluster whole in one of them; a block may be empty."""
    clusters = {cluster: number for number, cluster in enumerate(dict.fromkeys(item.cluster for item in items))}
    return [[item for item in items if clusters[item.cluster] % blocks == block] for block in range(blocks)]


def _rows_within(
    items: Sequence[Item], scorer: Scorer, token_budget: int, share: float = 1.0
) -> list[tuple[float, Rows]]:
    """The items' rows, halved until they fit the budget, each with its share of the items."""
    if not items:
        return []
    rows = make_rows(items, scorer)
    if len(items) == 1 or rows.tokens <= token_budget:
        return [(share, rows)]
    half = len(items) // 2
    return [
        rows
        for part in (items[:half], items[half:])
        for rows in _rows_within(part, scorer, token_budget, share * len(part) / len(items))
    ]


def _piece_loss(model: Any, parts: list[tuple[float, Rows]], log: bool) -> PieceLoss:
    def loss(forward: Callable[..., Any]) -> torch.Tensor:
        return torch.stack([weight * rows.loss(model, forward, log=log) for weight, rows in parts]).sum()

    return loss
