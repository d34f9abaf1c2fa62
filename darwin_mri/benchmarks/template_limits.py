"""Templates of other people's files end: limits on the time, the memory and the text of one rendering.

Chat templates and the templates of task files are programs. Their sandbox keeps them from Python's own objects, but not
from endless loops or gigabytes of text.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

SECONDS = 5.0  # of the processor's time; an honest template takes about a millisecond
MEMORY = 2**30  # bytes that a rendering may add to this process
CHARACTERS = 2**24  # of the text, which is more than any model reads
STATM = Path("/proc/self/statm")  # its first figure is this process's address space in pages


class TemplateLimitError(Exception):
    """A template was stopped; the message is what it does, such as ``takes more than 5 s``."""


class _OutOfTime(BaseException):
    """No Exception, since Jinja takes any Exception for a constant that cannot be folded, and goes on."""


def render_within_limits(render: Callable[..., str], *args: Any, **options: Any) -> str:
    """Call a function that fills a template.

    The time is limited in the main thread only, which alone gets signals, and the memory where Linux tells it.

    Args:
        render: the function.
        args: its arguments.
        options: its keyword arguments.

    Returns:
        The text.

    Raises:
        TemplateLimitError: it takes too long, or too much memory, or its text is too long.
    """
    with _limited():
        text = render(*args, **options)
    if len(text) > CHARACTERS:
        raise TemplateLimitError(f"writes {len(text):,} characters, of which {CHARACTERS:,} are allowed")
    return text


class LimitedTemplate(Template):
    """A template whose renderings end."""

    def render(self, *args: Any, **options: Any) -> str:
        """As Jinja's; raises TemplateLimitError."""
        return render_within_limits(super().render, *args, **options)


class LimitedSandbox(ImmutableSandboxedEnvironment):
    """A sandbox whose templates end: what is constant in a template is computed when it is read."""

    template_class = LimitedTemplate

    def from_string(self, *args: Any, **options: Any) -> Template:
        """As Jinja's; raises TemplateLimitError."""
        with _limited():
            return super().from_string(*args, **options)


@contextmanager
def _limited() -> Generator[None]:
    try:
        with _memory_limit(), _time_limit():
            yield
    except _OutOfTime:
        raise TemplateLimitError(f"takes more than {SECONDS:g} s") from None
    except MemoryError:
        raise TemplateLimitError(f"takes more than {MEMORY >> 20:,} MiB of memory") from None
    except RecursionError:
        raise TemplateLimitError("calls itself without end") from None


@contextmanager
def _time_limit() -> Generator[None]:
    """A timer of this process's own time, apart from the alarm that ends an evaluation (``breeding.workers``)."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _raise_out_of_time)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS, 1.0)  # again each second, in case the first one is swallowed
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _raise_out_of_time(*_: object) -> NoReturn:
    raise _OutOfTime


@contextmanager
def _memory_limit() -> Generator[None]:
    if resource is None or not STATM.is_file():
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    allowed = int(STATM.read_bytes().split()[0]) * resource.getpagesize() + MEMORY
    if before[0] != resource.RLIM_INFINITY and before[0] <= allowed:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (allowed, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
