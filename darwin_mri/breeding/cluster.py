"""Ray's workers: actors that hold the parents, on one machine or many. Needs ``pip install 'darwin-mri[ray]'``.

An actor that dies costs the one task it had: a new actor takes its place and gets the task once more. A task that loses
two actors, or is not answered within the limit, is a failed candidate. While the new actor loads, or waits for room
because its machine died, the others do its tasks.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from darwin_mri.breeding.capacity import INSTALL, cluster_fault, living, room_fault
from darwin_mri.breeding.workers import Evaluate, Outcome, Task, evaluate_task
from darwin_mri.errors import ConfigError, DarwinError
from darwin_mri.run import peak_memory

TRIES = 2  # actors a task may cost
LOOK_AGAIN = 2.0  # seconds between two looks at actors that are awaited


@dataclass(frozen=True)
class _Running:
    """A task under way.

    Attributes:
        task: the task.
        tries: actors it has cost before.
        actor: number of the actor that has it.
        began: when it was given to that actor, by the monotonic clock.
    """

    task: Task
    tries: int
    actor: int
    began: float


def _failed(job: _Running, reason: str) -> Outcome:
    return Outcome(job.task, None, round(time.monotonic() - job.began, 4), reason)


class RayWorkers:
    """Ray actors that each hold the parents and evaluate tasks.

    Args:
        build: makes an actor's evaluation; sent to every actor, so a function of a module with plain arguments.
        actors: how many.
        gpus: of each actor.
        address: of the cluster (``auto`` for the one this machine belongs to); None starts one on this machine.
        limit: seconds for one task, 0 for none; an actor that takes longer is killed.
        on_replaced: called with the number of an actor that died or was killed.

    Raises:
        ConfigError: Ray is not installed, does not answer at the address, or cannot give these actors.
        DarwinError: Ray does not start.
    """

    def __init__(
        self,
        build: Callable[[], Evaluate],
        *,
        actors: int,
        gpus: float = 0.0,
        address: str | None = None,
        limit: float = 0.0,
        on_replaced: Callable[[int], None] = lambda _: None,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError(INSTALL) from None
        self.ray, self.limit, self.on_replaced, self._gpus = ray, limit, on_replaced, gpus
        self.started = not ray.is_initialized()
        if self.started:
            if fault := cluster_fault(actors, gpus, address):
                raise ConfigError(fault)
            # Ray reports usage unless it is told not to; a cloud's metadata server it asks all the same.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # Actors import this package from where it is installed; nothing of the working folder is shipped.
            try:
                ray.init(
                    address=address or "local",
                    num_cpus=None if address else actors,
                    log_to_driver=False,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:  # Ray has no class of its own for a node that does not come up in time
                reason = " ".join(str(error).split()).partition(". ")[0][:200]
                raise DarwinError(f"Ray did not start ({reason}): free processors, and go on with --resume") from None
        self.actors = []
        if fault := room_fault(actors, gpus, living(ray.nodes()), "Ray"):
            self.close()
            raise ConfigError(fault)

        class Worker:
            def __init__(self) -> None:
                self.evaluate = build()

            def ready(self) -> None:
                """Return once the parents are loaded."""

            def run(self, task: Task) -> Outcome:
                return replace(evaluate_task(self.evaluate, task), memory=peak_memory())

        self._kind = ray.remote(num_cpus=1, num_gpus=gpus)(Worker)
        self.actors = [self._kind.remote() for _ in range(actors)]
        self._ready = [actor.ready.remote() for actor in self.actors]
        self._running: dict[Any, _Running] = {}  # by Ray's reference
        self._loaded: dict[int, float] = {}  # actor -> when it was first seen to have its parents
        self._idle_since: dict[int, float] = {}  # actor -> when its last task ended
        self._awaited: set[int] = set()  # actors that took a dead one's place and have not loaded yet

    @property
    def count(self) -> int:
        """As ``Workers``."""
        return len(self.actors)

    def submit(self, task: Task, worker: int) -> None:
        """As ``Workers``."""
        self._give(task, worker, 0)

    def _give(self, task: Task, worker: int, tries: int) -> None:
        actor = self._able(worker)
        reference = self.actors[actor].run.remote(task)
        self._running[reference] = _Running(task, tries, actor, time.monotonic())

    def _able(self, worker: int) -> int:
        """The actor that does a worker's tasks: its own, or the least busy of the others while that one is awaited."""
        self._admit_loaded()
        others = [number for number in range(self.count) if number not in self._awaited]
        if worker not in self._awaited or not others:
            return worker
        busy = [job.actor for job in self._running.values()]
        return min(others, key=busy.count)

    def _admit_loaded(self) -> None:
        """No longer await the actors that have loaded."""
        for number in [number for number in self._awaited if self._has_loaded(number)]:
            self._awaited.remove(number)
            if self._is_lost(number):  # it was begun on a machine that is gone, too
                self._replace(number)

    def _share(self) -> None:
        """Give what waits at awaited actors to those that have loaded: there may be room for these alone."""
        self._admit_loaded()
        if len(self._awaited) == self.count:
            return
        for reference, job in list(self._running.items()):
            if job.actor in self._awaited:
                self.ray.cancel(reference)
                del self._running[reference]
                self._give(job.task, job.actor, job.tries)

    def _is_lost(self, number: int) -> bool:
        try:
            self.ray.get(self._ready[number])
        except self.ray.exceptions.RayActorError:
            return True
        return False

    def _has_loaded(self, number: int) -> bool:
        """Whether an actor has its parents, or died before it had them."""
        loaded, _ = self.ray.wait([self._ready[number]], timeout=0)
        return bool(loaded)

    def next(self) -> Outcome:
        """As ``Workers``.

        Raises:
            DarwinError: an actor fails in a way that is not the candidate's, or no machine is left.
        """
        while True:
            done, _ = self.ray.wait(list(self._running), num_returns=1, timeout=self._patience())
            for reference in done:
                job = self._running[reference]
                outcome, lost = self._result(reference)
                if outcome is not None:
                    del self._running[reference]
                    self._idle_since[job.actor] = time.monotonic()
                    return outcome
                job = self._lose(job.actor)
                if job.tries + 1 == TRIES:
                    return _failed(job, lost)
                self._give(job.task, job.actor, job.tries + 1)
            self._require_room()
            self._share()
            late = [] if done else [job.actor for job in self._running.values() if self._is_late(job.actor, job.began)]
            if late:
                return _failed(self._lose(late[0]), f"no result within {self.limit:g} s")

    def _lose(self, actor: int) -> _Running:
        """Replace an actor and give the tasks that waited for it again; returns the one that it was at."""
        lost = {reference: job for reference, job in self._running.items() if job.actor == actor}
        for reference in lost:
            del self._running[reference]
        self._replace(actor)
        at, *waiting = sorted(lost.values(), key=lambda job: job.began)
        for job in waiting:
            self._give(job.task, actor, job.tries)
        return at

    def _result(self, reference: Any) -> tuple[Outcome | None, str]:
        """The outcome of a task that has ended; or None, and why, where its actor died."""
        try:
            return self.ray.get(reference), ""
        except self.ray.exceptions.RayActorError as error:
            return None, f"worker lost: {type(error).__name__}"
        except self.ray.exceptions.RayTaskError as error:
            message = " ".join(str(error.cause or error).split())[:300]
            raise DarwinError(f"a worker failed: {message}") from None

    def _is_late(self, number: int, began: float) -> bool:
        """Whether a task takes too long; an actor that is still loading its parents is not late."""
        if self.limit <= 0:
            return False
        if not self._has_loaded(number):
            return False
        loaded = self._loaded.setdefault(number, time.monotonic())
        return time.monotonic() - max(began, loaded, self._idle_since.get(number, 0.0)) > self.limit

    def _patience(self) -> float | None:
        """Seconds to wait for a result before looking for late tasks and lost machines; None where neither can be."""
        if self._awaited:
            return LOOK_AGAIN
        if self.limit <= 0:
            return None
        oldest = min(job.began for job in self._running.values())
        return max(0.2, oldest + self.limit - time.monotonic())

    def _require_room(self) -> None:
        """Refuse to wait where every actor is awaited and no machine could take one."""
        if len(self._awaited) == self.count and room_fault(1, self._gpus, living(self.ray.nodes()), "Ray"):
            raise DarwinError("Ray has lost every machine of the search: add one, then go on with --resume")

    def _replace(self, number: int) -> None:
        self.ray.kill(self.actors[number])
        self.actors[number] = self._kind.remote()
        self._ready[number] = self.actors[number].ready.remote()
        self._loaded.pop(number, None)
        self._awaited.add(number)
        self.on_replaced(number)

    def close(self) -> None:
        """Kill the actors, and Ray where it was started for them."""
        for actor in self.actors:
            self.ray.kill(actor)
        if self.started:
            self.ray.shutdown()
