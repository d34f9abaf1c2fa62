"""What long work reports while it goes: the command line draws it, a library user may leave it silent."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Where the pipeline reports how far its work is."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar of ``total`` steps; the value is called with the number of steps done since the last call."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...

    def status(self, text: str) -> None:
        """How the running stage stands: beside its bar on a terminal, a line elsewhere."""
        ...


class Silent:
    """A Progress that shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Generator[Callable[[int], None]]:
        """A bar nobody sees."""
        yield lambda steps: None

    def say(self, text: str) -> None:
        """Nothing."""

    def status(self, text: str) -> None:
        """Nothing."""
