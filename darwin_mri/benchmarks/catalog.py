"""The benchmarks by name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from darwin_mri.benchmarks import click, gpqa, musr, nursery
from darwin_mri.benchmarks.items import Item, item_hash
from darwin_mri.benchmarks.protocols import generative, log_likelihood
from darwin_mri.benchmarks.sources import Source
from darwin_mri.config import Generation
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.records import BenchmarkInfo, Coverage, Protocol

Loader = Callable[[Source], tuple[Item, ...]]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be loaded.

    Attributes:
        name: what configs and the command line call it.
        title: what reports call it.
        protocol: how it is prompted and scored by log-likelihood.
        loader: items from a source; the nursery's benchmarks are generated and ignore it.
        language: of the instruction in the generative protocol; empty where the benchmark has none.
        full: published number of items, by slice where there are several tasks, else under "all".
        other_world: items of another world's seed, which the nursery's names take as ``nursery_click@SEED``.
    """

    name: str
    title: str
    protocol: Protocol
    loader: Loader
    language: str = "en"
    full: Mapping[str, int] = field(default_factory=dict)
    other_world: Callable[[int], tuple[Item, ...]] | None = None

    def chat_protocol(self, generation: Generation) -> Protocol:
        """How a chat model is prompted and its answer read.

        Raises:
            ConfigError: the benchmark repeats another project's log-likelihood task and has no other form.
        """
        if not self.language:
            raise ConfigError(f"{self.name} repeats a log-likelihood task: for generated answers use another benchmark")
        return generative(self.name, self.language, generation)


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


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message offers the nearest name.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    plain, _, seed = name.partition("@")
    if seed.isdecimal() and (known := BENCHMARKS.get(plain)) is not None and known.other_world is not None:
        make = known.other_world
        return replace(known, name=name, title=f"{known.title}, world {seed}", loader=lambda source: make(int(seed)))
    nearest = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.4)
    advice = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(BENCHMARKS)}"
    raise ConfigError(f"there is no benchmark '{name}': {advice}")


def load_benchmark(
    name: str, data: Path | None = None, *, offline: bool = False, password: str | None = None
) -> tuple[Item, ...]:
    """All items of a benchmark.

    Args:
        name: a key of ``BENCHMARKS``.
        data: folder with the benchmark's files; the hub when None.
        offline: never contact the hub.
        password: of GPQA's zip.

    Returns:
        The items, each different from all others.

    Raises:
        ConfigError: unknown name.
        InputError: its files are missing or damaged; the message names file, line and item, never the text.
    """
    items = get_benchmark(name).loader(Source(data, offline, password))
    seen: dict[str, Item] = {}
    for item in items:
        twin = seen.setdefault(item_hash(item), item)
        if twin is not item:
            raise InputError(f"{twin.name} and {item.name} are the same item: keep one of them")
    return items


def describe_benchmark(name: str, items: Sequence[Item]) -> BenchmarkInfo:
    """Which part of a benchmark was loaded: the title says so where published items are missing.

    Args:
        name: a key of ``BENCHMARKS``.
        items: all that were loaded, before any split or sample.
    """
    benchmark = get_benchmark(name)
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
    return BenchmarkInfo(name=name, title=title, complete=complete, coverage=coverage)
