"""The benchmarks by name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from darwin_mri.benchmarks import click, gpqa, musr, nursery
from darwin_mri.benchmarks.benchmark import Benchmark
from darwin_mri.benchmarks.items import Item, item_hash
from darwin_mri.benchmarks.own import own_benchmark
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.benchmarks.sources import Source
from darwin_mri.config import OwnTask
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.records import BenchmarkInfo, Coverage

OwnTasks = Mapping[str, OwnTask]
NO_TASKS: OwnTasks = {}

# Zero-shot, summed log-probability of " " + choice; the cloze prompt does not list the choices.
CLOZE = log_likelihood("cloze-logprob-sum", "{context}")


def _nursery(name: str, title: str, make: Callable[..., tuple[Item, ...]], language: str = "en") -> Benchmark:
    make_once = functools.cache(make)
    return Benchmark(name, title, CLOZE, lambda source: make_once(), language, other_world=make_once)


def _musr(name: str, title: str, *tasks: str) -> Benchmark:
    protocol = log_likelihood("musr-text-logprob-per-character", musr.TEMPLATE, "acc_norm")
    full = {task: musr.FULL[task] for task in tasks}
    return Benchmark(name, title, protocol, lambda source: musr.load_musr(source, *tasks, benchmark=name), full=full)


def _gpqa(name: str, title: str, subset: str) -> Benchmark:
    protocol = log_likelihood("gpqa-letter-logprob", f"{gpqa.TEMPLATE} order: {gpqa.SHUFFLE}")
    full = {"all": gpqa.FULL[subset]}
    return Benchmark(name, title, protocol, lambda source: gpqa.load_gpqa(source, subset, name), full=full)


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        _nursery("nursery_click", "Nursery CLIcK (Korean culture)", nursery.nursery_click, "ko"),
        _nursery("nursery_musr", "Nursery MuSR (stories)", nursery.nursery_musr),
        _nursery("nursery_gpqa", "Nursery GPQA (science)", nursery.nursery_gpqa),
        Benchmark(
            "click", "CLIcK", log_likelihood("click-letter-logprob", click.TEMPLATE), click.load_click, "ko", click.FULL
        ),
        Benchmark(
            "click_upstream",
            "CLIcK as lm-eval asks it (fifth choices hidden)",
            log_likelihood("click-lm-eval-logprob", "lm_eval click 1.0"),
            click.load_click_upstream,
            "",
            click.FULL,
        ),
        _musr("musr", "MuSR", *musr.FULL),
        _musr("musr_murder_mysteries", "MuSR murder mysteries", "murder_mysteries"),
        _musr("musr_object_placements", "MuSR object placements", "object_placements"),
        _musr("musr_team_allocation", "MuSR team allocation", "team_allocation"),
        _gpqa("gpqa", "GPQA diamond", "diamond"),
        _gpqa("gpqa_main", "GPQA main", "main"),
        _gpqa("gpqa_extended", "GPQA extended", "extended"),
    )
}


def get_benchmark(name: str, own: OwnTasks = NO_TASKS) -> Benchmark:
    """The benchmark or own task of that name.

    Raises:
        ConfigError: there is none, and the message offers the nearest name; or an own task has a benchmark's name.
    """
    if name in own:
        if name in BENCHMARKS:
            raise ConfigError(f"tasks: '{name}' is the name of a benchmark: give the task another one")
        return own_benchmark(name, own[name])
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    plain, _, seed = name.partition("@")
    if seed.isdecimal() and (known := BENCHMARKS.get(plain)) is not None and known.other_world is not None:
        make = known.other_world
        return replace(known, name=name, title=f"{known.title}, world {seed}", loader=lambda source: make(int(seed)))
    names = (*own, *BENCHMARKS)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    advice = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(names)}"
    raise ConfigError(f"there is no {'task or ' if own else ''}benchmark '{name}': {advice}")


def load_benchmark(
    name: str,
    data: Path | None = None,
    *,
    offline: bool = False,
    password: str | None = None,
    own: OwnTasks = NO_TASKS,
) -> tuple[Item, ...]:
    """All items of a benchmark or of an own task.

    Args:
        name: a key of ``BENCHMARKS`` or of ``own``.
        data: folder with the benchmark's files; the hub when None.
        offline: never contact the hub.
        password: of GPQA's zip.
        own: the user's own tasks by name.

    Returns:
        The items, each different from all others.

    Raises:
        ConfigError: unknown name.
        InputError: its files are missing or damaged; the message names file, line and item, never the text.
    """
    items = get_benchmark(name, own).loader(Source(data, offline, password))
    seen: dict[str, Item] = {}
    for item in items:
        twin = seen.setdefault(item_hash(item), item)
        if twin is not item:
            raise InputError(f"{twin.name} and {item.name} are the same item: keep one of them")
    return items


def describe_benchmark(name: str, items: Sequence[Item], own: OwnTasks = NO_TASKS) -> BenchmarkInfo:
    """Which part of a benchmark was loaded: the title says so where published items are missing.

    Args:
        name: a key of ``BENCHMARKS`` or of ``own``.
        items: all that were loaded, before any split or sample.
        own: the user's own tasks by name.

    Returns:
        The record of it.
    """
    benchmark = get_benchmark(name, own)
    counts = {
        part: len(items) if part == "all" else sum(item.slice == part for item in items) for part in benchmark.full
    }
    coverage = tuple(Coverage(part=part, items=count, full=benchmark.full[part]) for part, count in counts.items()) or (
        Coverage(part="all", items=len(items)),
    )
    complete = all(c.full is None or c.items == c.full for c in coverage)
    title = benchmark.title
    if not complete:
        parts = ", ".join(
            f"{'' if c.part == 'all' else c.part + ' '}{c.items} of {c.full}" for c in coverage if c.full is not None
        )
        title += f", not the published set: {parts} items"
    return BenchmarkInfo(name=name, title=title, complete=complete, coverage=coverage, unit=benchmark.unit)
