"""The benchmarks by name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.benchmarks import nursery
from darwin_mri.benchmarks.items import Item
from darwin_mri.errors import ConfigError

CLOZE = "cloze-logprob-sum v1"  # summed log-probability of " " + choice, zero-shot, choices not listed in the prompt


@dataclass(frozen=True)
class Benchmark:
    """A benchmark that can be loaded.

    Args:
        name: what configs and the command line call it.
        title: what reports call it.
        protocol: how it is prompted and scored; scores are comparable only within one protocol.
        loader: items from a data folder; the nursery's benchmarks are generated and ignore the folder.
    """

    name: str
    title: str
    protocol: str
    loader: Callable[[Path | None], tuple[Item, ...]]


def _generated(make: Callable[[], tuple[Item, ...]]) -> Callable[[Path | None], tuple[Item, ...]]:
    made_once = functools.cache(make)
    return lambda data: made_once()


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("nursery_click", "Nursery CLIcK (Korean culture)", CLOZE, _generated(nursery.nursery_click)),
        Benchmark("nursery_musr", "Nursery MuSR (stories)", CLOZE, _generated(nursery.nursery_musr)),
        Benchmark("nursery_gpqa", "Nursery GPQA (science)", CLOZE, _generated(nursery.nursery_gpqa)),
    )
}


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none; the message offers the nearest name.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]
    nearest = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.4)
    advice = f"did you mean '{nearest[0]}'?" if nearest else f"choose one of {', '.join(BENCHMARKS)}"
    raise ConfigError(f"there is no benchmark '{name}': {advice}")


def load_benchmark(name: str, data: Path | None = None) -> tuple[Item, ...]:
    """All items of a benchmark.

    Args:
        name: a key of ``BENCHMARKS``.
        data: folder with the benchmark's files, for those that are not generated.

    Raises:
        ConfigError: unknown name.
    """
    return get_benchmark(name).loader(data)
