"""Items of benchmarks whose every item has choices, typed as such."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from darwin_mri.benchmarks import ChoiceItem, Item, load_benchmark, with_choices


def as_choices(items: Iterable[Item]) -> tuple[ChoiceItem, ...]:
    """The items, all of which have choices."""
    given = tuple(items)
    chosen = tuple(with_choices(given))
    assert len(chosen) == len(given)
    return chosen


def load_choices(
    name: str, data: Path | None = None, *, offline: bool = False, password: str | None = None
) -> tuple[ChoiceItem, ...]:
    """The items of a benchmark that has choices; as ``load_benchmark``."""
    return as_choices(load_benchmark(name, data, offline=offline, password=password))
