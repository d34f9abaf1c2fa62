"""Who evaluates: this process, or one thread per device of this machine. ``cluster`` has Ray's.

A task is one candidate on one block of items; its outcome depends on nothing else, so neither order nor number of
workers changes a result.
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
    """One candidate on one block of items.

    Attributes:
        generation: the candidate's generation.
        candidate: its number within the generation.
        block: number of the block.
        genes: the candidate's, by name.
    """

    generation: int
    candidate: int
    block: int
    genes: Mapping[str, float]

    @property
    def key(self) -> tuple[int, int, int]:
        """(generation, candidate, block): unique within a search."""
        return self.generation, self.candidate, self.block


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: the task.
        scores: of the block's items; None where the candidate failed.
        seconds: it took.
        reason: why it failed; empty where it did not.
    """

    task: Task
    scores: ItemScores | None
    seconds: float
    reason: str = ""


class Workers(Protocol):
    """Evaluate tasks."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcomes as they come, in any order."""
        ...

    def close(self) -> None:
        """Give up what the workers hold."""
        ...


class OutOfTime(RuntimeError):
    """An evaluation took longer than its limit."""


class InProcess:
    """One task after the other, in this process.

    Args:
        evaluate: scores a candidate on a block.
        limit: seconds for one block, 0 for none. Enforced by an alarm where signals can be had (the main thread of a
            Unix process); a call that never returns to Python, such as a stuck kernel, is only ended with Ray.
    """

    def __init__(self, evaluate: Evaluate, limit: float = 0.0) -> None:
        self.evaluate, self.limit = evaluate, limit

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """As ``Workers``, in the order of the tasks."""
        for task in tasks:
            yield evaluate_task(self.evaluate, task, self.limit)

    def close(self) -> None:
        """Nothing is held."""


class Devices:
    """One thread per device, each with a model of its own; torch computes outside Python's lock.

    Args:
        evaluates: one per device: scores a candidate on a block.
    """

    def __init__(self, evaluates: Sequence[Evaluate]) -> None:
        self._idle: SimpleQueue[Evaluate] = SimpleQueue()
        for evaluate in evaluates:
            self._idle.put(evaluate)
        self._pool = ThreadPoolExecutor(len(evaluates))

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """As ``Workers``, in the order of the tasks."""
        # By candidate, so that a device keeps the weights it has just applied: map keeps the order of the tasks.
        yield from self._pool.map(self._one, tasks)

    def _one(self, task: Task) -> Outcome:
        evaluate = self._idle.get()
        try:
            return evaluate_task(evaluate, task)
        finally:
            self._idle.put(evaluate)

    def close(self) -> None:
        """End the threads; tasks that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)


def evaluate_task(evaluate: Evaluate, task: Task, limit: float = 0.0) -> Outcome:
    """Evaluate one task; failures of the candidate become reasons, everything else is raised.

    Args:
        evaluate: scores a candidate on a block.
        task: the candidate and the block.
        limit: seconds, 0 for none; as in ``InProcess``.

    Returns:
        The task's outcome.
    """
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

    def raise_out_of_time(*_: object) -> None:
        raise OutOfTime(f"no result within {limit:g} s")

    before = signal.signal(signal.SIGALRM, raise_out_of_time)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
