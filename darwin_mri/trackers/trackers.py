"""The trackers of one run: opened when there is something to log, found again by a resumed run, never in its way."""

from __future__ import annotations

import contextlib
import io
import math
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from darwin_mri.errors import InputError
from darwin_mri.records import Record
from darwin_mri.trackers.interface import Ending, RunEnd, TrackedRun, Tracker

STATE = "state/trackers.json"


class TrackerState(Record):
    """What a resumed run needs to go on in the same tracker runs.

    Attributes:
        id: of the run, for trackers that take one.
        runs: tracker -> the id it gave.
        steps: tracker -> the last generation it was told of.
    """

    id: str
    runs: dict[str, str] = {}
    steps: dict[str, int] = {}


class Trackers:
    """The trackers of one run. A fault of one is said once, and the run goes on without it.

    Args:
        names: of the trackers.
        folder: of the run.
        config: of the run, as it may be published.
        keep: go on in the tracker runs of an earlier attempt.
        say: takes the line about a tracker that failed.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        config: Mapping[str, Any],
        *,
        keep: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.names, self.folder, self.config = list(dict.fromkeys(names)), folder, config
        self.keep, self.say = keep, say
        self._open: dict[str, Tracker] = {}
        self._known: TrackerState | None = None

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Log a generation, unless an earlier attempt at this run did.

        Args:
            values: by name; what is None or no finite number is left out.
            step: number of the generation.
        """
        numbers = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        for name in list(self.names):
            if step > self._state().steps.get(name, -1):
                with self._guarded(name):
                    self._tracker(name).log(numbers, step)
                    self._remember(steps={**self._state().steps, name: step})

    def finish(self, summary: Mapping[str, float], report: Path) -> None:
        """Log what the run ends with, keep its report, and end."""
        self._end(list(self.names), RunEnd("done", summary, (report,) if report.is_file() else ()))

    def stop(self, ending: Ending) -> None:
        """End early; trackers that were told nothing stay closed."""
        self._end(list(self._open), RunEnd(ending))

    def _end(self, names: Sequence[str], end: RunEnd) -> None:
        for name in names:
            with self._guarded(name):
                self._tracker(name).finish(end)
            self._open.pop(name, None)

    def _tracker(self, name: str) -> Tracker:
        if name not in self._open:
            state = self._state()
            title = f"{self.config.get('name') or self.folder.name}-{state.id[:8]}"
            run = TrackedRun(title, state.id, state.runs.get(name, ""), self.config, self.folder)
            self._open[name] = import_module(f"darwin_mri.trackers.to_{name}").open_tracker(run)
            self._remember(runs={**state.runs, name: self._open[name].id})
        return self._open[name]

    def _state(self) -> TrackerState:
        if self._known is None:
            self._known = TrackerState(id=uuid.uuid4().hex)
            if self.keep:
                with contextlib.suppress(InputError):
                    self._known = TrackerState.load(self.folder / STATE)
        return self._known

    def _remember(self, **changes: object) -> None:
        self._known = self._state().model_copy(update=changes)
        self._known.save(self.folder / STATE)

    @contextlib.contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Keep a tracker's faults, warnings and greetings to itself."""
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # of any library, for any reason: the run matters more
            self.names.remove(name)
            self._open.pop(name, None)
            lines = str(error).splitlines() or ["no message"]
            self.say(f"log: {name} failed and gets nothing more ({type(error).__name__}: {lines[0][:200]})")
