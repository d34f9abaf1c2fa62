"""Who evaluates: this process, or one thread per device of this machine. ``cluster`` has Ray's.

A task is one candidate on one block of items; its outcome depends on nothing else, so neither order nor number of workers
changes a result.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

import numpy as np

ItemScores = dict[str, list[float]]
"""Benchmark -> the score in [0, 1] of each item of the block."""

Evaluate = Callable[[Mapping[str, float], int], ItemScores]
"""(genes, number of the block) -> scores of its items."""

FAILURES = (ArithmeticError, RuntimeError, ValueError, MemoryError)  # torch raises RuntimeError when memory runs out


@dataclass(frozen=True)
class Task:
    generation: int
    candidate: int
    block: int
    genes: Mapping[str, float]

    @property
    def key(self) -> tuple[int, int, int]:
        return self.generation, self.candidate, self.block


@dataclass(frozen=True)
class Outcome:
    """``scores`` None: failed, for the ``reason``."""

    task: Task
    scores: ItemScores | None
    seconds: float
    reason: str = ""


class Workers(Protocol):
    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order."""
        ...

    def close(self) -> None: ...


class OutOfTime(RuntimeError):
    """An evaluation took longer than its limit."""


class InProcess:
    """One after the other, here.

    Args:
        limit: seconds for one block, 0 for none. Enforced by an alarm where signals are to be had (the main thread of a Unix
            process); a call that never returns to Python, such as a stuck kernel, is only ended with Ray.
    """

    def __init__(self, evaluate: Evaluate, limit: float = 0.0) -> None:
        self.evaluate, self.limit = evaluate, limit

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        for task in tasks:
            yield evaluated(self.evaluate, task, self.limit)

    def close(self) -> None:
        pass


class Devices:
    """One thread per device, each with a model of its own; torch computes outside Python's lock."""

    def __init__(self, evaluates: Sequence[Evaluate]) -> None:
        self._idle: SimpleQueue[Evaluate] = SimpleQueue()
        for evaluate in evaluates:
            self._idle.put(evaluate)
        self._pool = ThreadPoolExecutor(len(evaluates))

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        # By candidate, so that a device keeps the weights it has just applied: map keeps the order of the tasks.
        yield from self._pool.map(self._one, tasks)

    def _one(self, task: Task) -> Outcome:
        evaluate = self._idle.get()
        try:
            return evaluated(evaluate, task)
        finally:
            self._idle.put(evaluate)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def evaluated(evaluate: Evaluate, task: Task, limit: float = 0.0) -> Outcome:
    """One task's outcome; failures of the candidate become reasons, everything else is raised."""
    began = time.monotonic()
    scores, reason = None, ""
    try:
        with _alarm(limit):
            scores = evaluate(task.genes, task.block)
    except FAILURES as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    else:
        if not all(np.isfinite(part).all() for part in scores.values()):
            scores, reason = None, "fitness is not finite"
    return Outcome(task, scores, round(time.monotonic() - began, 4), reason)


@contextmanager
def _alarm(limit: float) -> Iterator[None]:
    if limit <= 0 or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise OutOfTime(f"no result within {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
