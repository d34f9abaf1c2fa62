"""Faults that strike a run at a chosen point of a stage, installed in the process of that run alone.

Nothing in ``darwin_mri`` knows of them: the interpreter tells of every file that is opened (an audit hook), and the
stages are those that the manifest times.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darwin_mri.run import Run

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Watch:
    """Counts what is opened for writing below a folder, stage by stage, and strikes at one of these moments.

    Attributes:
        folder: of the run.
        stage: that is under way; empty between two.
        counts: stage -> files opened for writing in it.
        always: called at every such moment once the fault has struck.
    """

    def __init__(self, folder: Path, point: tuple[str, int] | None, strike: Callable[[Watch], None]) -> None:
        self.folder, self.point, self.strike = str(folder), point, strike
        self.stage, self.struck = "", False
        self.counts: Counter[str] = Counter()
        self.always: Callable[[], None] | None = None
        original, watch = Run.timed, self

        @contextmanager
        def timed(run: Run, stage: str) -> Iterator[None]:
            watch.stage = stage
            try:
                with original(run, stage):
                    watch.meet(0)
                    yield
            finally:
                watch.stage = ""

        Run.timed = timed  # type: ignore[method-assign]
        sys.addaudithook(self.hear)

    def hear(self, event: str, values: tuple[Any, ...]) -> None:
        """As an audit hook."""
        if event != "open" or not isinstance(values[0], str | bytes) or not (values[2] or 0) & WRITES:
            return
        path = os.path.abspath(os.fsdecode(values[0]))
        if path.startswith(self.folder + os.sep) and "live.json" not in path:  # written each second, by a thread
            self.counts[self.stage] += 1
            if self.struck and self.always is not None:
                self.always()
            self.meet(self.counts[self.stage])

    def meet(self, number: int) -> None:
        """Strike at the point: ``(stage, 0)`` is its beginning, ``(stage, n)`` the n-th file that it opens.

        ``("every", n)`` is a point in each stage.
        """
        if self.point == ("every", number) and self.stage:
            self.strike(self)
        if not self.struck and self.point == (self.stage, number):
            self.struck = True
            self.strike(self)


def kill(watch: Watch) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def terminate(watch: Watch) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def hang_up(watch: Watch) -> None:
    os.kill(os.getpid(), signal.SIGHUP)


def interrupt_twice(watch: Watch) -> None:
    """Ctrl-C, and once more at the next file that is opened, which falls into the clean-up of the first."""
    left = [None]

    def again() -> None:
        if left:
            left.pop()
            os.kill(os.getpid(), signal.SIGINT)

    watch.always = again
    os.kill(os.getpid(), signal.SIGINT)


def fill_disk(watch: Watch) -> None:
    """Take all that is free on the disk of the run."""
    where = Path(watch.folder).parent
    handle = os.open(where / "filler", os.O_CREAT | os.O_WRONLY)
    free = os.statvfs(where)
    os.posix_fallocate(handle, 0, free.f_bavail * free.f_frsize)
    os.close(handle)


def exceed_quota(watch: Watch) -> None:
    """From now on the system refuses to open a file for writing, as where a quota is used up."""

    def refuse() -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    watch.always = refuse
    refuse()


def forbid_writing(watch: Watch) -> None:
    """Take the permission to write from the run's folders and files."""
    for folder, _, files in os.walk(watch.folder, topdown=False):
        for name in files:
            os.chmod(os.path.join(folder, name), 0o444)
        os.chmod(folder, 0o555)


def run_out_of_memory(watch: Watch) -> None:
    """From now on no operation of torch in this process gets memory."""
    fail_operations(forever=True)


def run_out_of_memory_once(watch: Watch) -> None:
    """The next operation of torch gets no memory, those after it do."""
    fail_operations(forever=False)


def fail_operations(*, forever: bool) -> None:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Full(TorchDispatchMode):
        failed = False

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if not self.failed or forever:
                self.failed = True
                raise torch.OutOfMemoryError("CUDA out of memory")
            return func(*args, **(kwargs or {}))

    Full().__enter__()


def change_parent(watch: Watch) -> None:
    """Another model of the same shapes takes the place of the mother's weights."""
    old, new = (Path(os.environ[name]) for name in ("RELIABILITY_OLD", "RELIABILITY_NEW"))
    copy = old.with_name("copy")
    copy.write_bytes(new.read_bytes())
    copy.replace(old)


def stop(watch: Watch) -> None:
    """Stand still until somebody lets the process go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def nothing(watch: Watch) -> None:
    """Only count."""


STRIKES: dict[str, Callable[[Watch], None]] = {
    function.__name__: function
    for function in (
        kill, terminate, hang_up, interrupt_twice, fill_disk, exceed_quota, forbid_writing, run_out_of_memory,
        run_out_of_memory_once, change_parent, stop, nothing,
    )
}  # fmt: skip


def install(order: dict[str, Any]) -> Watch | None:
    """What an order of the server asks for."""
    if "strike" not in order:
        return None
    point = tuple(order["point"]) if order.get("point") else None
    return Watch(Path(order["folder"]), point, STRIKES[order["strike"]])  # type: ignore[arg-type]


def report(watch: Watch | None, path: str) -> None:
    """Write down what was counted."""
    if watch is not None:
        Path(path).write_text(json.dumps(watch.counts), encoding="utf-8")
