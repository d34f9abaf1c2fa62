"""Which items the search may see and which are held out; and the smooth fitness as a differentiable loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks import (
    PASSWORD_VARIABLE,
    Item,
    Reader,
    choice_scales,
    describe_benchmark,
    fit_items,
    get_benchmark,
    item_hash,
    load_benchmark,
    prepare,
    require_chat,
    sample_items,
    split_items,
)
from darwin_mri.checkpoints import ModelSource, load_tokenizer
from darwin_mri.config import BenchConfig, Config
from darwin_mri.errors import InputError
from darwin_mri.mri import Block, PieceLoss
from darwin_mri.probes import project, require_tokens
from darwin_mri.records import BenchmarkInfo, Protocol, SplitItems, Splits
from darwin_mri.stages.memory import BATCH_TOKENS
from darwin_mri.stages.run import Run

RESPONSE_BLOCKS = 8  # blocks of items: the unit of resampling of the fitness response


@dataclass(frozen=True)
class Items:
    """Items by benchmark. ``search`` feeds the fitness, ``fresh`` re-tests the finalists, ``held_out`` is reported.

    ``pool`` is all that may be searched on: ``search``, ``fresh`` and what neither needed.
    """

    pool: dict[str, tuple[Item, ...]]
    search: dict[str, tuple[Item, ...]]
    fresh: dict[str, tuple[Item, ...]]
    held_out: dict[str, tuple[Item, ...]]
    benchmarks: tuple[BenchmarkInfo, ...]
    splits: Splits


def choose_items(config: Config, models: Mapping[str, ModelSource], *, offline: bool = False) -> Items:
    """Split every benchmark by cluster with the run's seed; the three parts share no cluster.

    Args:
        config: of the run.
        models: the parents; items longer than the context of one of them are dealt with as ``config.bench.long_items`` says.
        offline: never ask the hub for benchmark files.
    """
    loaded = load_items(
        config.bench, list(models.values()), data=config.data, password=gpqa_password(), offline=offline
    )
    pool: dict[str, tuple[Item, ...]] = {}
    search: dict[str, tuple[Item, ...]] = {}
    fresh: dict[str, tuple[Item, ...]] = {}
    held_out: dict[str, tuple[Item, ...]] = {}
    stored = []
    for name, (items, _) in loaded.items():
        split = split_items(items, config.seed, config.bench.search_share, config.bench.held_out_share)
        size = config.bench.items
        held_out[name] = sample_items(split.held_out, size, config.seed) if size else split.held_out
        if name in config.fitness:
            pool[name] = split.search
            search[name] = sample_items(split.search, config.search.items, config.seed)
            used = {item.cluster for item in search[name]}
            rest = [item for item in split.search if item.cluster not in used]
            fresh[name] = sample_items(rest, config.search.items, config.seed) if rest else ()
        parts = {
            part: tuple(sorted(item_hash(item) for item in chosen.get(name, ())))
            for part, chosen in (("search", search), ("fresh", fresh), ("held_out", held_out))
        }
        stored.append(SplitItems(benchmark=name, clusters=len({item.cluster for item in items}), **parts))
    splits = Splits(
        seed=config.seed,
        search_share=config.bench.search_share,
        held_out_share=config.bench.held_out_share,
        benchmarks=tuple(stored),
    )
    return Items(pool, search, fresh, held_out, tuple(info for _, info in loaded.values()), splits)


def store_splits(run: Run, splits: Splits) -> None:
    """Write which items the run searches on and reports, or check that a resumed run still has the same.

    Raises:
        InputError: the benchmark files have changed since the run began.
    """
    kept = run.record("splits.json", Splits, lambda: splits)
    if kept != splits:
        raise InputError(
            f"{run.folder.name} was started on other benchmark items: give it the same data, or start a new run"
        )


def load_items(
    bench: BenchConfig,
    models: Sequence[ModelSource],
    *,
    data: str | None,
    password: str | None,
    offline: bool = False,
    sample: Callable[[tuple[Item, ...]], tuple[Item, ...]] = lambda items: items,
) -> dict[str, tuple[tuple[Item, ...], BenchmarkInfo]]:
    """Every task's items that all models can read, and what the task's name stands for.

    Args:
        bench: tasks, protocol, and what becomes of items that are too long.
        models: local models to be compared; served ones refuse what is too long for them.
        data: folder with the benchmark files; the hub when None.
        password: of GPQA's zip.
        offline: never ask the hub.
        sample: chooses some of the items before their lengths are looked at.

    Raises:
        InputError: as ``load_benchmark`` and ``fit_items``.
    """
    protocols = {name: asked_under(bench, name) for name in bench.tasks}
    readers = [Reader.of_folder(source.ref, source.folder, load_tokenizer(source)) for source in models]
    if bench.protocol == "generate":
        require_chat(readers)
    loaded = {}
    for name, protocol in protocols.items():
        whole = load_benchmark(name, Path(data) if data else None, offline=offline, password=password)
        kept, long = fit_items(sample(whole), protocol, readers, bench.long_items)
        count = {"beyond" if bench.long_items == "beyond" else "left_out": len(long)}
        loaded[name] = kept, describe_benchmark(name, whole).model_copy(update=count)
    return loaded


def asked_under(bench: BenchConfig, task: str) -> Protocol:
    """The protocol that local models are asked a task under."""
    benchmark = get_benchmark(task)
    return benchmark.chat_protocol(bench.generation) if bench.protocol == "generate" else benchmark.protocol


def gpqa_password() -> str | None:
    """GPQA's password from the environment: a config file is published, so it is never part of one."""
    return os.environ.get(PASSWORD_VARIABLE)


def fitness_blocks(
    model: Any,
    tokenizer: Any,
    items: Mapping[str, Sequence[Item]],
    weights: Mapping[str, float],
    *,
    log: bool,
    token_budget: int = BATCH_TOKENS,
) -> list[Block]:
    """The smooth fitness, negated, as differentiable losses of a few items each.

    Args:
        items: by benchmark; dealt out over ``RESPONSE_BLOCKS`` blocks, the unit of resampling.
        weights: of the benchmarks.
        log: the gold choice's log-probability, which also moves on items the model is sure to get wrong; its probability,
            which is what the search climbs, when false.
        token_budget: tokens of a piece, padding included; an item that has more is a piece by itself.
    """
    blocks = []
    for block in range(RESPONSE_BLOCKS):
        pieces: list[list[tuple[float, _Rows]]] = []
        for name, weight in weights.items():
            mine = items[name][block::RESPONSE_BLOCKS]
            for share, rows in _rows_within(mine, tokenizer, model, token_budget):
                if not pieces or sum(r.ids.numel() for _, r in pieces[-1]) + rows.ids.numel() > token_budget:
                    pieces.append([])
                pieces[-1].append((weight * share, rows))
        if pieces:
            blocks.append([_piece_loss(model, parts, log) for parts in pieces])
    return blocks


@dataclass(frozen=True)
class _Rows:
    """Items as input rows without their last tokens, which nothing follows: choices of one token share a row.

    ``ids``, ``attention`` (rows, length). Every token of a choice is predicted at a place: ``rows``, ``columns``, ``tokens``
    and ``choices``, the choice it belongs to, each (places,). ``owner`` and ``scales`` (choices,): the item of each choice, and
    what its log-likelihood is multiplied by; ``gold`` (items,): the right choice.
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
    items: Sequence[Item], tokenizer: Any, model: Any, token_budget: int, share: float = 1.0
) -> list[tuple[float, _Rows]]:
    """The items' rows, halved until they fit the budget, each with its share of the items."""
    if not items:
        return []
    rows = _rows(items, tokenizer, model)
    if len(items) == 1 or rows.ids.numel() <= token_budget:
        return [(share, rows)]
    half = len(items) // 2
    return [
        found
        for part in (items[:half], items[half:])
        for found in _rows_within(part, tokenizer, model, token_budget, share * len(part) / len(items))
    ]


def _rows(items: Sequence[Item], tokenizer: Any, model: Any) -> _Rows:
    prepared, device = prepare(items, tokenizer), next(model.parameters()).device
    for index in range(len(items)):
        require_tokens(model, (prepared.contexts[index], *prepared.continuations[index]))
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
