"""Other libraries at work: silenced, cut to one line where they fail, kept from kernels that a CPU cannot run."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

# Kernels that transformers picks up, where they are installed, when it imports a family's code, and that fail on a CPU.
# A process whose first model of a family runs on a CPU goes without them.
CUDA_ONLY = ("fla", "causal_conv1d", "mamba_ssm")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars, log lines and warnings while open; this package reports what matters."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """An error's class and the first line of its text, with the next where a line ends in a colon."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or ["no reason given"]
    end = next((number for number, line in enumerate(lines) if not line.endswith(":")), len(lines) - 1)
    return f"{type(error).__name__}: {' '.join(lines[: end + 1]).rstrip(':')}"


@contextmanager
def hide_cuda_kernels(device: str) -> Iterator[None]:
    """While open, packages of kernels cannot be imported where models run on a CPU, unless they have been already."""
    hidden = [name for name in CUDA_ONLY if device == "cpu" and name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None stops an import
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
