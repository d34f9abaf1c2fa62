"""What lm-eval and its backends print: warnings are shown, the rest is kept for when a call fails."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import ClassVar

PRINTED = 4000  # last characters of lm-eval's output that go with an error
WARNING_LENGTH = 300  # characters of a warning that are shown
TASK_LOGGER = "lm_eval.api.task"  # it warns of how a task is written, and tasks are written by ``harness``
EXPECTED_WARNINGS = (  # of every model in memory, which is what is meant
    "`pretrained` model kwarg is not of type `str`",
    "Passed an already-initialized model through `pretrained`",
)


class _WarningLines(logging.StreamHandler):
    """Shows warnings of lm-eval and its backends that a user can act on, one short line each, and each only once.

    Later lines of a message are left out: a library may quote a prompt in them.
    """

    shown: ClassVar[set[str]] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().strip().partition("\n")[0][:WARNING_LENGTH]
        expected = record.name == TASK_LOGGER or line.startswith(EXPECTED_WARNINGS)
        if line not in self.shown and not expected:
            self.shown.add(line)
            self.stream.write(f"{record.name}: {line}\n")
            self.flush()


@contextlib.contextmanager
def contain_output() -> Iterator[None]:
    """Keep prints, progress bars and Python warnings of lm-eval and its backends away from the terminal.

    Log lines at WARNING and above are shown: they tell of downloads that are tried again, for example. What was printed
    is added to the error when the call fails, as a note that a traceback (``--debug``) shows.
    """
    disabled, handler = logging.root.manager.disable, _WarningLines(sys.stderr)
    printed = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(printed),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.INFO)
        logging.root.addHandler(handler)
        try:
            yield
        except BaseException as error:
            if text := printed.getvalue().strip():
                error.add_note(f"Printed before the failure:\n{text[-PRINTED:]}")
            raise
        finally:
            logging.root.removeHandler(handler)
            logging.disable(disabled)
