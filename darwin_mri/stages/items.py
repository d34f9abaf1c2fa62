"""Which items the search may see and which are held out; and the fitness, smooth, with its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from darwin_mri.benchmarks import (
    Item,
    Scorer,
    gold_probability,
    load_benchmark,
    prepare,
    sample_items,
    split_items,
    to_answers,
)
from darwin_mri.breeding import Evaluation
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.mri import BlockLoss
from darwin_mri.probes import project

RESPONSE_BLOCKS = 8  # blocks of items: the unit of resampling of the fitness response


@dataclass(frozen=True)
class Items:
    """Items by benchmark. ``search`` feeds the fitness, ``fresh`` re-tests the finalists, ``held_out`` is reported."""

    search: dict[str, tuple[Item, ...]]
    fresh: dict[str, tuple[Item, ...]]
    held_out: dict[str, tuple[Item, ...]]


def choose_items(config: Config) -> Items:
    """Split every benchmark by cluster with the run's seed; the three parts share no cluster."""
    search: dict[str, tuple[Item, ...]] = {}
    fresh: dict[str, tuple[Item, ...]] = {}
    held_out: dict[str, tuple[Item, ...]] = {}
    for name in config.bench.tasks:
        split = split_items(load_benchmark(name), config.seed, config.bench.search_share)
        size = config.bench.items
        held_out[name] = sample_items(split.held_out, size, config.seed) if size else split.held_out
        if name in config.fitness:
            search[name] = sample_items(split.search, config.search.items, config.seed)
            used = {item.cluster for item in search[name]}
            rest = [item for item in split.search if item.cluster not in used]
            fresh[name] = sample_items(rest, config.search.items, config.seed) if rest else ()
    return Items(search, fresh, held_out)


class Fitness:
    """Scores genomes on fixed items by writing them into the resident model; the same items for every candidate."""

    def __init__(
        self, candidate: Candidate, scorer: Scorer, items: Mapping[str, Sequence[Item]], config: Config
    ) -> None:
        self.candidate, self.scorer, self.weights, self.smooth = candidate, scorer, config.weights, config.search.smooth
        self.items = {name: tuple(items[name]) for name in config.weights}
        self.prepared = {name: scorer.prepare(part) for name, part in self.items.items()}

    def __call__(self, genes: Mapping[str, float]) -> Evaluation:
        self.candidate.apply(genes)
        scores = {}
        for name, items in self.items.items():
            log_probabilities = self.scorer.log_probabilities(self.prepared[name])
            if self.smooth:
                scores[name] = float(gold_probability(items, log_probabilities).mean())
            else:
                scores[name] = float(np.mean([answer.credit for answer in to_answers(items, log_probabilities)]))
        fitness = sum(self.weights[name] * score for name, score in scores.items())
        return Evaluation(fitness, scores, sum(len(items) for items in self.items.values()))


def fitness_blocks(
    model: Any, tokenizer: Any, items: Mapping[str, Sequence[Item]], weights: Mapping[str, float], *, log: bool
) -> list[BlockLoss]:
    """The smooth fitness, negated, as differentiable losses of a few items each.

    Args:
        items: by benchmark; dealt out over ``RESPONSE_BLOCKS`` blocks, the unit of resampling.
        weights: of the benchmarks.
        log: the gold choice's log-probability, which also moves on items the model is sure to get wrong; its probability,
            which is what the search climbs, when false.
    """
    device = next(model.parameters()).device
    blocks = []
    for block in range(RESPONSE_BLOCKS):
        parts = []
        for name, weight in weights.items():
            mine = items[name][block::RESPONSE_BLOCKS]
            if mine:
                parts.append((weight, *_rows(mine, tokenizer, device)))
        if parts:
            blocks.append(_block_loss(model, parts, log))
    return blocks


def _rows(items: Sequence[Item], tokenizer: Any, device: Any) -> tuple[torch.Tensor, ...]:
    """One row per choice: (ids, attention, mask of choice tokens, item of each row, gold row of each item)."""
    prepared = prepare(items, tokenizer)
    rows, starts, owner, gold = [], [], [], []
    for index, item in enumerate(items):
        gold.append(len(rows) + item.gold)
        for ids in prepared.continuations[index]:
            rows.append([*prepared.contexts[index], *ids])
            starts.append(len(prepared.contexts[index]))
            owner.append(index)
    length = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    attention, scored = torch.zeros_like(ids), torch.zeros(len(rows), length, dtype=torch.bool)
    for r, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[r, : len(row)] = torch.tensor(row)
        attention[r, : len(row)] = 1
        scored[r, start : len(row)] = True
    tensors = (ids, attention, scored, torch.tensor(owner), torch.tensor(gold))
    return tuple(tensor.to(device) for tensor in tensors)


def _block_loss(model: Any, parts: list[tuple[Any, ...]], log: bool) -> BlockLoss:
    def loss(forward: Callable[..., Any]) -> torch.Tensor:
        total = torch.zeros((), device=parts[0][1].device)
        for weight, ids, attention, scored, owner, gold in parts:
            hidden = forward(input_ids=ids, attention_mask=attention, use_cache=False).last_hidden_state
            rows, columns = torch.nonzero(scored, as_tuple=True)
            logits = project(model, hidden[rows, columns - 1])
            tokens = -torch.nn.functional.cross_entropy(logits, ids[rows, columns], reduction="none")
            choices = torch.zeros(len(ids), device=ids.device).index_add(0, rows, tokens)
            # Softmax over the choices of each item, then the gold choice's share.
            highest = torch.full((len(gold),), -torch.inf, device=ids.device).scatter_reduce(
                0, owner, choices.detach(), "amax"
            )
            weighed = torch.exp(choices - highest[owner])
            totals = torch.zeros(len(gold), device=ids.device).index_add(0, owner, weighed)
            share = choices[gold] - highest - totals.log()
            total = total - weight * (share if log else share.exp()).mean()
        return total

    return loss
