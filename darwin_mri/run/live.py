"""A run's state for whoever watches it: kept in memory, written into the run folder by a thread.

What works only sets attributes here, which costs nothing. A thread writes them once a second where something changed,
and every ten seconds as a sign of life. The file is replaced whole; what the system refuses is left: a full disk must
not end a run for the sake of a watcher.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from darwin_mri.records import LiveState, LiveStep, PeakMemory, WorkerState
from darwin_mri.run.memory import peak_memory
from darwin_mri.run.progress import Progress

EVERY = 1.0  # seconds between two writes where something changed
SIGN_OF_LIFE = 10.0  # seconds between two writes where nothing did


class LiveFile:
    """The state of one run and the thread that writes it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stage, self.since = "", time.time()
        self.step: LiveStep | None = None
        self.workers: tuple[WorkerState, ...] = ()
        self._written: LiveState | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin_stage(self, name: str) -> None:
        """Say which stage goes on now."""
        self.stage, self.since = name, time.time()

    def set_workers(self, workers: tuple[WorkerState, ...]) -> None:
        """Say what the workers of the search do."""
        self.workers = workers

    def start(self) -> None:
        """Begin to write."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._write_on, name="live state", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write once more, and no further."""
        if self._thread is not None:
            self.workers = ()
            self._ended.set()
            self._thread.join()
            self._thread = None

    def _write_on(self) -> None:
        while True:
            ended = self._ended.is_set()
            self._write(always=ended)
            if ended:
                return
            self._ended.wait(EVERY)

    def _peak(self) -> PeakMemory:
        """The peak so far; Linux counts in steps, and may say less a second later."""
        now, before = peak_memory(), self._written
        if before is None or now.host is None:
            return now
        return now.model_copy(update={"host": max(now.host, before.memory.host or 0)})

    def _write(self, *, always: bool) -> None:
        state = LiveState(
            written=time.time(),
            stage=self.stage,
            since=self.since,
            step=self.step,
            memory=self._peak(),
            workers=self.workers,
        )
        before = self._written
        if before is not None and not always:
            same = state.model_copy(update={"written": before.written}) == before
            if same and state.written - before.written < SIGN_OF_LIFE:
                return
        try:
            _replace(self.path, state.to_json())
        except OSError:
            return
        self._written = state


class WatchedProgress:
    """A Progress that also says in the live state how far its bars are.

    Args:
        shown: where work reports.
        live: the state.
    """

    def __init__(self, shown: Progress, live: LiveFile) -> None:
        self.shown, self.live = shown, live

    @contextmanager
    def stage(self, title: str, total: int) -> Generator[Callable[[int], None]]:
        """A bar of ``total`` steps."""
        outer, began, done = self.live.step, time.time(), 0
        self.live.step = LiveStep(title=title, done=0, total=total, since=began)

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            self.live.step = LiveStep(title=title, done=done, total=total, since=began)
            forward(steps)

        try:
            with self.shown.stage(title, total) as forward:
                yield advance
        finally:
            self.live.step = outer

    def say(self, text: str) -> None:
        """A line that stays."""
        self.shown.say(text)

    def status(self, text: str) -> None:
        """How the running stage stands."""
        self.shown.status(text)


def _replace(path: Path, text: str) -> None:
    """Write a small file whole. It is not forced to disk, which could keep a thread waiting: it is of no use later."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
