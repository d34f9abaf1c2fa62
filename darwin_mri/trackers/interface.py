"""What a tracker is to a run, and whether its package is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

PROJECT = "darwin-mri"
"""Under which runs are kept where the tracker's own settings name no project."""
TENSORBOARD = "tensorboard"
"""Folder of its event files in the run folder."""
Ending = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told of a run. All of it may be published.

    Attributes:
        name: of the run, with the beginning of its id.
        id: the same for every attempt at this run.
        known: the id that the tracker itself gave to an earlier attempt; empty for the first one.
        config: every setting, as the manifest has it: no hosts, folders by their last names.
        folder: of the run, for a tracker whose files belong beside the report. Never logged.
    """

    name: str
    id: str
    known: str
    config: Mapping[str, Any]
    folder: Path

    @property
    def settings(self) -> dict[str, str | int | float | bool]:
        """The config in one level: ``search.budget``; lists and what is absent as text."""
        return dict(_flat("", self.config))


@dataclass(frozen=True)
class RunEnd:
    """How an attempt at a run ends.

    Attributes:
        ending: done, failed or interrupted.
        summary: name -> what the run ends with; nothing where it did not come so far.
        files: to keep beside it, where the tracker keeps files.
    """

    ending: Ending
    summary: Mapping[str, float] = field(default_factory=dict[str, float])
    files: tuple[Path, ...] = ()


class Tracker(Protocol):
    """One run in one tracker. Whatever it raises ends the tracking and not the run."""

    @property
    def id(self) -> str:
        """By which a later attempt finds this run again."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name; the step is the number of the generation."""
        ...

    def finish(self, end: RunEnd) -> None:
        """End this attempt."""
        ...


def tracker_fault(name: str) -> str:
    """Why a tracker cannot be used; empty where it can."""
    if find_spec(name) is not None:
        return ""
    return f"log: {name} is not installed: pip install 'darwin-mri[{name}]'"


def _flat(prefix: str, data: Mapping[str, Any]) -> list[tuple[str, str | int | float | bool]]:
    pairs: list[tuple[str, str | int | float | bool]] = []
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            pairs += _flat(f"{name}.", value)
        else:
            pairs.append((name, value if isinstance(value, bool | int | float | str) else str(value)))
    return pairs
