"""What every worker does, for whoever watches a search: kept beside the workers, whatever kind they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from darwin_mri.breeding.workers import Outcome, Task, Workers
from darwin_mri.records import WorkerState


class WorkerStates:
    """The states of a search's workers.

    Args:
        places: where each worker is, by its number.
        tell: called with all states whenever one changes.
    """

    def __init__(self, places: Sequence[str], tell: Callable[[tuple[WorkerState, ...]], None]) -> None:
        now = time.time()
        self._states = [WorkerState(number=i, place=place, task=None, since=now) for i, place in enumerate(places)]
        self._tell = tell
        self._change(None)

    def give(self, task: Task, worker: int) -> None:
        """A worker gets a task."""
        self._change(worker, task=task.key)

    def take(self, outcome: Outcome) -> None:
        """A worker has ended its task."""
        for state in self._states:
            if state.task == outcome.task.key:
                self._change(state.number, task=None, done=state.done + 1, memory=outcome.memory)

    def replace(self, worker: int) -> None:
        """A worker died and another one takes its place."""
        self._change(worker, replaced=self._states[worker].replaced + 1)

    def clear(self) -> None:
        """The search has ended."""
        self._tell(())

    def _change(self, worker: int | None, **changes: object) -> None:
        if worker is not None:
            self._states[worker] = self._states[worker].model_copy(update={"since": time.time(), **changes})
        self._tell(tuple(self._states))


class ObservedWorkers:
    """Workers whose states are kept.

    Args:
        workers: that evaluate.
        states: of these workers.
    """

    def __init__(self, workers: Workers, states: WorkerStates) -> None:
        self.workers, self.states = workers, states

    @property
    def count(self) -> int:
        """As ``Workers``."""
        return self.workers.count

    def submit(self, task: Task, worker: int) -> None:
        """As ``Workers``."""
        self.states.give(task, worker)
        self.workers.submit(task, worker)

    def next(self) -> Outcome:
        """As ``Workers``."""
        outcome = self.workers.next()
        self.states.take(outcome)
        return outcome

    def close(self) -> None:
        """As ``Workers``."""
        self.states.clear()
        self.workers.close()
