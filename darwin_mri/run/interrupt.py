"""Ctrl-C lets the work under way finish first; a second one does not wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def gentle_interrupt(say: Callable[[str], None]) -> Generator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed. Outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = False
    before = signal.getsignal(signal.SIGINT)

    def press(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)
        say("stopping after the evaluation under way; Ctrl-C again stops at once")

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
