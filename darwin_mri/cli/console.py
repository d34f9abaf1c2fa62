"""Progress on stderr, for people at a terminal and for the logs of jobs."""

from __future__ import annotations

import codecs
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class AnyConsole(Console):
    """A console that draws lines and bars in ASCII where its stream has no Unicode: rich takes UTF-8 for granted."""

    @property
    def encoding(self) -> str:
        """Of the stream that is written to."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()


err = AnyConsole(stderr=True)
stdout = AnyConsole()
# Of the reports' own signs: a minus must not be lost.
SIMILAR = dict(
    zip("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}·…×²±‖●■◆▲○╱█\N{NARROW NO-BREAK SPACE}", "---..x2~|*#*^o/# ", strict=True)
)
LOGGED_EVERY = 60.0  # seconds between two lines of a stage where there is no terminal


def accept_all_text() -> None:
    """Let both streams take any text: a sign that the encoding lacks is printed as a similar one, else as ``?``."""
    codecs.register_error("similar", _similar)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="similar")


def _similar(error: UnicodeError) -> tuple[str, int]:
    """What is printed in place of signs that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(SIMILAR.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


class ConsoleProgress:
    """Bars on a terminal; elsewhere a line per stage, and one a minute while it lasts; nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        logging.getLogger("darwin_mri").setLevel(logging.ERROR if quiet else logging.NOTSET)
        self.bar: tuple[Progress, Any, str] | None = None

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar of ``total`` steps, or lines in a log; the value is called with steps done."""
        if self.quiet:
            yield lambda steps: None
            return
        if not err.is_terminal:
            self.say(f"{title} ...")
            yield self._logged(title, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(escape(title), total=total)
            self.bar = bar, task, title
            try:
                yield lambda steps: bar.advance(task, steps)
            finally:
                self.bar = None

    def status(self, text: str) -> None:
        """Beside the running bar, or as a line of its own."""
        if self.bar is None:
            self.say(text)
        else:
            bar, task, title = self.bar
            bar.update(task, description=escape(f"{title}, {text}"))

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self.quiet:
            err.print(text, markup=False, highlight=False)

    def _logged(self, title: str, total: int) -> Callable[[int], None]:
        done, began = 0, time.monotonic()
        reported = began

        def advance(steps: int) -> None:
            nonlocal done, reported
            done, now = done + steps, time.monotonic()
            if done and now - reported >= LOGGED_EVERY:
                reported, spent = now, now - began
                left = spent * max(0, total - done) / done
                self.say(f"{title}: {done} of {total} after {_minutes(spent)}, about {_minutes(left)} left")

        return advance


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
