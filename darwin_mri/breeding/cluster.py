"""Ray's workers: actors that hold the parents, on one machine or many. Needs ``pip install 'darwin-mri[ray]'``.

Tasks go to whichever actor is free. An actor that dies costs the one task it had: the task is given out once more, to another
actor, and the dead one is started again. A task that loses two actors, or is not answered within the limit, is a failed candidate.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from darwin_mri.breeding.workers import Evaluate, Outcome, Task, evaluated
from darwin_mri.errors import ConfigError, DarwinError

TRIES = 2  # actors a task may cost


class RayWorkers:
    """Args:
    build: makes an actor's evaluation; sent to every actor, so a function of a module with plain arguments.
    actors: how many.
    gpus: of each actor.
    address: of the cluster (``auto`` for the one this machine belongs to); None starts one on this machine.
    limit: seconds for one task, 0 for none; an actor that takes longer is killed.
    """

    def __init__(
        self,
        build: Callable[[], Evaluate],
        *,
        actors: int,
        gpus: float = 0.0,
        address: str | None = None,
        limit: float = 0.0,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("workers: ray needs Ray: pip install 'darwin-mri[ray]'") from None
        self.ray, self.limit = ray, limit
        self.started = not ray.is_initialized()
        if self.started:
            # Actors import this package from where it is installed; nothing of the working folder is shipped.
            ray.init(
                address=address or "local",
                num_cpus=None if address else actors,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
            )

        class Worker:
            def __init__(self) -> None:
                self.evaluate = build()

            def ready(self) -> None:
                """Answers once the parents are loaded."""

            def run(self, task: Task) -> Outcome:
                return evaluated(self.evaluate, task)

        self._kind = ray.remote(num_cpus=1, num_gpus=gpus)(Worker)
        self.actors = [self._kind.remote() for _ in range(actors)]
        self._ready = [actor.ready.remote() for actor in self.actors]
        self._loaded: dict[int, float] = {}  # actor -> when it was first seen to have its parents

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        waiting = deque((task, 0) for task in tasks)
        idle = deque(range(len(self.actors)))
        running: dict[Any, tuple[Task, int, int, float]] = {}  # reference -> task, tries, actor, when it began
        while waiting or running:
            while waiting and idle:
                task, tries = waiting.popleft()
                number = idle.popleft()
                reference = self.actors[number].run.remote(task)
                running[reference] = task, tries, number, time.monotonic()
            done, _ = self.ray.wait(list(running), num_returns=1, timeout=self._patience(running))
            late = (
                []
                if done or self.limit <= 0
                else [r for r, (_, _, number, began) in running.items() if self._late(number, began)]
            )
            for reference in [*done, *late]:
                task, tries, number, began = running.pop(reference)
                lost = f"no result within {self.limit:g} s" if reference in late else ""
                if not lost:
                    try:
                        yield self.ray.get(reference)
                    except self.ray.exceptions.RayActorError as error:
                        lost = f"worker lost: {type(error).__name__}"
                    except self.ray.exceptions.RayTaskError as error:
                        raise DarwinError(
                            f"a worker failed: {' '.join(str(error.cause or error).split())[:300]}"
                        ) from None
                if lost:
                    self._replace(number)
                    if tries + 1 < TRIES and not late:
                        waiting.appendleft((task, tries + 1))
                    else:
                        yield Outcome(task, None, round(time.monotonic() - began, 4), lost)
                idle.append(number)

    def _late(self, number: int, began: float) -> bool:
        """Whether a task takes too long; an actor that is still loading its parents is not late."""
        loaded, _ = self.ray.wait([self._ready[number]], timeout=0)
        if not loaded:
            return False
        since = self._loaded.setdefault(number, time.monotonic())
        return time.monotonic() - max(began, since) > self.limit

    def _patience(self, running: dict[Any, tuple[Task, int, int, float]]) -> float | None:
        if self.limit <= 0:
            return None
        oldest = min(entry[3] for entry in running.values())
        return max(0.2, oldest + self.limit - time.monotonic())

    def _replace(self, number: int) -> None:
        self.ray.kill(self.actors[number])
        self.actors[number] = self._kind.remote()
        self._ready[number] = self.actors[number].ready.remote()
        self._loaded.pop(number, None)

    def close(self) -> None:
        for actor in self.actors:
            self.ray.kill(actor)
        if self.started:
            self.ray.shutdown()
