"""Which items the search may see and which are held out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.benchmarks import (
    PASSWORD_VARIABLE,
    Item,
    OwnTasks,
    Reader,
    describe_benchmark,
    fit_items,
    get_benchmark,
    item_hash,
    load_benchmark,
    require_chat,
    sample_items,
    split_items,
)
from darwin_mri.checkpoints import ModelSource, load_tokenizer
from darwin_mri.config import BenchConfig, Config
from darwin_mri.records import BenchmarkInfo, Protocol, SplitItems, Splits


@dataclass(frozen=True)
class Items:
    """Items by benchmark, in parts that share no cluster.

    Attributes:
        pool: all that may be searched on: ``search``, ``fresh`` and what neither needed.
        search: feeds the fitness.
        fresh: re-tests the finalists.
        held_out: is reported.
        stand_ins: search items of tasks that only stand in for the slopes of others.
        benchmarks: what each benchmark's name stands for.
        splits: the record of the parts.
    """

    pool: dict[str, tuple[Item, ...]]
    search: dict[str, tuple[Item, ...]]
    fresh: dict[str, tuple[Item, ...]]
    held_out: dict[str, tuple[Item, ...]]
    stand_ins: dict[str, tuple[Item, ...]]
    benchmarks: tuple[BenchmarkInfo, ...]
    splits: Splits


def choose_items(config: Config, models: Sequence[ModelSource], *, offline: bool = False) -> Items:
    """Split every benchmark by cluster with the run's seed; the three parts share no cluster.

    Args:
        config: of the run.
        models: the parents; items longer than the context of one of them are dealt with as ``config.bench.long_items``
            says.
        offline: never ask the hub for benchmark files.

    Returns:
        The parts of every benchmark, and the record of them.
    """
    loaded = load_items(config.bench, models, own=config.tasks, data=config.data, offline=offline)
    pool: dict[str, tuple[Item, ...]] = {}
    search: dict[str, tuple[Item, ...]] = {}
    fresh: dict[str, tuple[Item, ...]] = {}
    held_out: dict[str, tuple[Item, ...]] = {}
    stand_ins: dict[str, tuple[Item, ...]] = {}
    stored = []
    for name, (items, _) in loaded.items():
        split = split_items(items, config.seed, config.bench.search_share, config.bench.held_out_share)
        size = config.bench.items
        held_out[name] = sample_items(split.held_out, size, config.seed) if size else split.held_out
        if name in config.stand_ins.values() and name not in config.searched:
            stand_ins[name] = sample_items(split.search, config.prior.items, config.seed)
        if name in config.searched:
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
    return Items(pool, search, fresh, held_out, stand_ins, tuple(info for _, info in loaded.values()), splits)


def load_items(
    bench: BenchConfig,
    models: Sequence[ModelSource],
    *,
    own: OwnTasks,
    data: str | None,
    password: str | None = None,
    offline: bool = False,
    sample: Callable[[tuple[Item, ...]], tuple[Item, ...]] = lambda items: items,
) -> dict[str, tuple[tuple[Item, ...], BenchmarkInfo]]:
    """Every task's items that all models can read, and what the task's name stands for.

    Args:
        bench: tasks, protocol, and what becomes of items that are too long.
        models: local models to be compared; served ones refuse what is too long for them.
        own: the user's own tasks by name.
        data: folder with the benchmark files; the hub when None.
        password: of GPQA's zip; from the environment when None.
        offline: never ask the hub.
        sample: chooses some of the items before their lengths are looked at.

    Returns:
        Task -> (items, what the task's name stands for).

    Raises:
        InputError: as ``load_benchmark`` and ``fit_items``.
    """
    password = password or gpqa_password()
    protocols = {name: task_protocol(bench, name, own) for name in bench.tasks}
    readers = [Reader.of_folder(source.ref, source.folder, load_tokenizer(source)) for source in models]
    in_parts = require_chat(readers) if bench.protocol == "generate" else ()
    loaded = {}
    for name, protocol in protocols.items():
        whole = load_benchmark(name, Path(data) if data else None, offline=offline, password=password, own=own)
        kept, long = fit_items(sample(whole), protocol, readers, bench.long_items)
        facts = {"beyond" if bench.long_items == "beyond" else "left_out": len(long), "in_parts": in_parts}
        loaded[name] = kept, describe_benchmark(name, whole, own).model_copy(update=facts)
    return loaded


def task_protocol(bench: BenchConfig, task: str, own: OwnTasks) -> Protocol:
    """The protocol that local models are asked a task under.

    Args:
        bench: says whether they answer in a chat.
        task: name of a benchmark or of an own task.
        own: the user's own tasks by name.

    Returns:
        The protocol.
    """
    benchmark = get_benchmark(task, own)
    in_chat = bench.protocol == "generate" and benchmark.choices
    return benchmark.chat_protocol(bench.generation) if in_chat else benchmark.protocol


def gpqa_password() -> str | None:
    """GPQA's password from the environment: a config file is published, so it is never part of one."""
    return os.environ.get(PASSWORD_VARIABLE)
