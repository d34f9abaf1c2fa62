"""One command in a process of its own, cheap enough for ten thousand: a fork of this one, which has imported all."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MEMORY = 6 << 30  # bytes of data that a command may hold beyond what the imports take
POLL = 0.005  # seconds


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        code: exit code; negative the signal that ended it.
        seconds: by the wall.
        hung: it was ended, as its time was over.
        out: what it printed.
        err: its messages.
    """

    code: int
    seconds: float
    hung: bool
    out: str
    err: str


def attempt(words: tuple[str, ...], folder: Path, limit: float, then: Callable[[], str] | None = None) -> Outcome:
    """Run ``darwin-mri`` with these words in a fork.

    Args:
        words: arguments of the command line.
        folder: working directory, with ``home``, ``cache`` and ``tmp`` for the command.
        limit: seconds after which it hangs, without those in which other processes had the processors.
        then: called in the fork when the command has ended with exit code 0; what it returns is a fault.

    Returns:
        The outcome.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(words, folder, then)
    code, hung = _wait(child, began, limit)
    streams = [(folder / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr")]
    return Outcome(code, time.monotonic() - began, hung, *streams)


def _wait(child: int, began: float, limit: float) -> tuple[int, bool]:
    """Wait for the child; time in which it waited for a processor is not its own."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        if time.monotonic() - began > limit + _kept_waiting(child):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGKILL, True
        time.sleep(POLL)


def _kept_waiting(process: int) -> float:
    """Seconds in which a process was ready and others had the processors: they say nothing of it."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # it has ended, or the system counts no such thing
        return 0.0


def _run(words: tuple[str, ...], folder: Path, then: Callable[[], str] | None) -> None:
    """In the fork: never returns."""
    code = 70
    try:
        os.setsid()
        for number, name in ((1, "stdout"), (2, "stderr")):
            stream = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(stream, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        held = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY, held + MEMORY))
        os.chdir(folder)
        os.environ.update(HOME=str(folder / "home"), DARWIN_MRI_CACHE=str(folder / "cache"), TMPDIR=str(folder / "tmp"))
        sys.argv = ["darwin-mri", *words]
        from darwin_mri import cli

        cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == 0 and then:
            (folder / "fault").write_text(then(), encoding="utf-8")
    except BaseException:  # the interpreter would print it, too
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)
