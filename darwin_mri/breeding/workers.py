"""Who evaluates: this process, or one thread per device of this machine. ``cluster`` has Ray's.

A task is one candidate on one block of items; its outcome depends on nothing else. A worker that gets a candidate's
blocks one after the other keeps the weights it has applied.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

import numpy as np

from darwin_mri.records import PeakMemory

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
        memory: of the worker's process so far, where it has one of its own.
    """

    task: Task
    scores: ItemScores | None
    seconds: float
    reason: str = ""
    memory: PeakMemory | None = None


class Workers(Protocol):
    """Evaluate tasks, one at a time each."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def submit(self, task: Task, worker: int) -> None:
        """Give a task to a worker that has none.

        Args:
            task: the task.
            worker: its number, below ``count``.
        """
        ...

    def next(self) -> Outcome:
        """Wait for whichever task ends next, of those that were given and whose outcomes were not taken yet."""
        ...

    def close(self) -> None:
        """Give up what the workers hold."""
        ...


def evaluate_all(workers: Workers, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Outcomes as they come, in any order; a worker that is free gets the next task.

    Args:
        workers: none has a task.
        tasks: to evaluate.
    """
    waiting, idle = deque(tasks), deque(range(workers.count))
    busy: dict[tuple[int, int, int], int] = {}  # key of a task -> its worker
    while waiting or busy:
        while waiting and idle:
            task, worker = waiting.popleft(), idle.popleft()
            busy[task.key] = worker
            workers.submit(task, worker)
        outcome = workers.next()
        idle.append(busy.pop(outcome.task.key))
        yield outcome


class OutOfTime(RuntimeError):
    """An evaluation took longer than its limit."""


class InProcess:
    """One task after the other, in this process.

    Args:
        evaluate: scores a candidate on a block.
        limit: seconds for one block, 0 for none. Enforced by an alarm where signals can be had (the main thread of a
            Unix process); a call that never returns to Python, such as a stuck kernel, is only ended with Ray.
    """

    count = 1

    def __init__(self, evaluate: Evaluate, limit: float = 0.0) -> None:
        self.evaluate, self.limit = evaluate, limit
        self._given: deque[Task] = deque()

    def submit(self, task: Task, worker: int) -> None:
        """As ``Workers``; evaluated when its outcome is asked for."""
        self._given.append(task)

    def next(self) -> Outcome:
        """As ``Workers``."""
        return evaluate_task(self.evaluate, self._given.popleft(), self.limit)

    def close(self) -> None:
        """Nothing is held."""


class Devices:
    """One thread per device, each with a model of its own; torch computes outside Python's lock.

    Args:
        evaluates: one per device: scores a candidate on a block.
        end: gives up what they hold, once the threads have ended.
    """

    def __init__(self, evaluates: Sequence[Evaluate], end: Callable[[], None] = lambda: None) -> None:
        self.evaluates, self.end = tuple(evaluates), end
        self.count = len(self.evaluates)
        self._threads = [ThreadPoolExecutor(1) for _ in self.evaluates]
        self._ended: SimpleQueue[Future[Outcome]] = SimpleQueue()

    def submit(self, task: Task, worker: int) -> None:
        """As ``Workers``."""
        self._threads[worker].submit(evaluate_task, self.evaluates[worker], task).add_done_callback(self._ended.put)

    def next(self) -> Outcome:
        """As ``Workers``."""
        return self._ended.get().result()

    def close(self) -> None:
        """End the threads, each after the task it has."""
        try:
            for thread in self._threads:
                thread.shutdown()
        finally:
            self.end()


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
