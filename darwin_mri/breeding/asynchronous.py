"""The asynchronous search: a worker that is free gets the next candidate, so none waits for a slower one.

A state machine (``Schedule``) is driven by events. An event is the outcome of one block of one candidate, in the order
in which they came, which is that of the blocks' file. Every decision follows from the seed, the options and the events
so far: a resumed search replays the file and goes on where it stopped (docs/decisions/0021).
"""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.breeding.callbacks import generation_stats
from darwin_mri.breeding.candidates import Candidate, Recorder
from darwin_mri.breeding.options import SearchOptions
from darwin_mri.breeding.race import clearly_worse
from darwin_mri.breeding.ranking import best_first
from darwin_mri.breeding.strategies import Strategy
from darwin_mri.breeding.workers import Outcome, Task, Workers
from darwin_mri.records import LedgerLine

Begin = Callable[[Sequence[LedgerLine]], Strategy]
"""Lines of the opening -> the strategy that starts from them."""
Assignment = tuple[int, Task]
"""(number of the worker, its task)."""


@dataclass
class _Drawn:
    """A candidate with what the strategy needs to know of it.

    Attributes:
        candidate: genes and scores.
        vector: its genes, (genes,).
        era: of the strategy that drew it; candidates of another era say nothing about where it is. None for the
            opening.
        population: of that strategy; 0 for the opening.
        line: of the ledger, once it is finished.
    """

    candidate: Candidate
    vector: np.ndarray
    era: tuple[int, int] | None
    population: int
    line: LedgerLine | None = None


@dataclass
class _Worker:
    """What is known of a worker.

    Attributes:
        drawn: the candidate it has; None where it gets no more.
        seconds: sum over its blocks.
        blocks: how many it has evaluated.
    """

    drawn: _Drawn | None = None
    seconds: float = 0.0
    blocks: int = 0


class Schedule:
    """Decides what each worker does next.

    Args:
        names: of the genes, in the order of a vector.
        opening: candidates that come first, (candidates, genes).
        prelude: draws candidates for workers that are free before the opening is scored.
        begin: makes the strategy once it is.
        workers: how many.
        options: budget, racing.
        recorder: writes the lines.

    Attributes:
        lines: of the finished candidates, in the order they were finished.
        left: how many candidates may still be drawn.
    """

    def __init__(
        self,
        names: Sequence[str],
        opening: Sequence[np.ndarray],
        prelude: Strategy,
        begin: Begin,
        workers: int,
        options: SearchOptions,
        recorder: Recorder,
    ) -> None:
        self.names, self.begin, self.recorder = names, begin, recorder
        self.estimate = recorder.estimate
        self.racing = options.racing
        self.lines: list[LedgerLine] = []
        self.left = options.budget
        self._workers = [_Worker() for _ in range(workers)]
        self._opening = deque(opening[: options.budget])
        self._opened: list[LedgerLine] = []
        self._unopened = len(self._opening)
        self._strategy, self._moves = prelude, 0
        self._started = False
        self._asked: deque[np.ndarray] = deque()
        self._generation, self._number = 1, 0  # of the next candidate that is drawn
        self._finished: defaultdict[tuple[int, int], list[_Drawn]] = defaultdict(list)  # by era
        self._untold: deque[_Drawn] = deque()  # of this era
        self._reported = 0

    def first(self) -> list[Assignment]:
        """A candidate for every worker."""
        return [given for worker in range(len(self._workers)) for given in self._give(worker)]

    def take(self, worker: int, outcome: Outcome) -> list[Assignment]:
        """Take a block's outcome.

        Args:
            worker: whose task it was.
            outcome: of its task.

        Returns:
            The worker's next task; nothing where there is none left for it.
        """
        state = self._workers[worker]
        if outcome.seconds:  # else it is an equal candidate's, which tells nothing of the worker's pace
            state.seconds += outcome.seconds
            state.blocks += 1
        drawn = state.drawn
        assert drawn is not None
        candidate = drawn.candidate
        candidate.take(outcome)
        if outcome.scores is None:
            drawn.line = self.recorder.write(candidate, "failed", outcome.reason)
        elif candidate.blocks == self.estimate.blocks:
            drawn.line = self.recorder.write(candidate, "ok")
        elif self._loses(drawn):
            drawn.line = self.recorder.write_raced(candidate)
        else:
            return [(worker, candidate.next_task)]
        state.drawn = None
        self.lines.append(drawn.line)
        self._learn(drawn, drawn.line)
        return self._give(worker)

    def end(self, *, unbegun: bool = False) -> tuple[bool, set[tuple[int, int, int]]]:
        """Draw no further candidate; what is left of the opening stays.

        Args:
            unbegun: leave out the drawn ones too that have not been scored on any block.

        Returns:
            Whether a candidate is left out, and the keys of the tasks that are.
        """
        cut, self.left = self.left > len(self._opening), len(self._opening)
        keys: set[tuple[int, int, int]] = set()
        for worker in self._workers:
            if unbegun and worker.drawn and worker.drawn.era and not worker.drawn.candidate.blocks:
                keys.add(worker.drawn.candidate.next_task.key)
                worker.drawn = None
        return cut or bool(keys), keys

    def report(self) -> None:
        """Report the lines since the last report."""
        lines = self.lines[self._reported :]
        if lines:
            number, sigma = (self._generation, lines[-1].sigma) if self._reported else (0, None)
            self._reported = len(self.lines)
            self.recorder.callbacks.on_generation(generation_stats(number, lines, self.lines, sigma))

    @property
    def _era(self) -> tuple[int, int]:
        return self._moves, self._strategy.restarts

    def _give(self, worker: int) -> list[Assignment]:
        """The next candidate's first task for a worker; nothing where it should not have one."""
        if self.left == 0 or not (self._opening or self._is_worth(worker)):
            return []
        self.left -= 1
        drawn = self._open(self._opening.popleft()) if self._opening else self._draw()
        self._workers[worker].drawn = drawn
        return [(worker, drawn.candidate.next_task)]

    def _open(self, vector: np.ndarray) -> _Drawn:
        number = self._unopened - len(self._opening) - 1
        return _Drawn(Candidate(0, number, self._genes(vector), None), vector, None, 0)

    def _draw(self) -> _Drawn:
        """A candidate of the strategy, which learns first where a population has been finished."""
        if self._started and len(self._untold) >= self._strategy.population:
            self._tell()
        strategy = self._strategy
        if not self._asked:
            self._asked.extend(strategy.ask())
        vector = self._asked.popleft()
        candidate = Candidate(self._generation, self._number, self._genes(vector), strategy.sigma)
        self._number += 1
        return _Drawn(candidate, vector, self._era, strategy.population)

    def _genes(self, vector: np.ndarray) -> dict[str, float]:
        return dict(zip(self.names, map(float, vector), strict=True))

    def _tell(self) -> None:
        told = [self._untold.popleft() for _ in range(self._strategy.population)]
        era = self._era
        self._strategy.tell([(one.vector, one.line) for one in told if one.line])
        if self._era != era:
            self._untold.clear()
        self._asked.clear()
        self.report()
        self._generation, self._number = self._generation + 1, 0

    def _is_worth(self, worker: int) -> bool:
        """Whether a worker would end a candidate before the others could have ended all that are left.

        A slow worker's last candidate would keep all others waiting. Seconds are those of the events, and so the same
        in a replay.
        """
        me = self._workers[worker]
        if not me.blocks:
            return True
        blocks = self.estimate.blocks
        free: list[tuple[float, float]] = []  # when another worker is free, and its seconds for a candidate
        for other in self._workers:
            if other is not me and other.drawn and other.blocks:
                pace = other.seconds / other.blocks
                rest = (blocks - other.drawn.candidate.blocks) * pace
                free.append((max(me.seconds, other.seconds + rest), blocks * pace))
        if not free:
            return True  # nobody else is left
        end = me.seconds + blocks * me.seconds / me.blocks
        heapq.heapify(free)
        for _ in range(self.left):
            when, seconds = free[0]
            if when + seconds >= end:
                return True
            heapq.heapreplace(free, (when + seconds, seconds))
        return False

    def _loses(self, drawn: _Drawn) -> bool:
        """Whether a candidate is not of the better half of the last population, of which it counts as one.

        It is compared on the blocks it has been scored on; those of the population that were stopped or failed count
        as worse. Before a population is finished the half of it must have been better already.
        """
        if not self.racing or drawn.era is None:
            return False
        population = drawn.population
        recent = self._finished[drawn.era][1 - population :]
        scores = drawn.candidate.scores
        scores_of = {
            number: {name: other.candidate.scores[name][: len(part)] for name, part in scores.items()}
            for number, other in enumerate(recent)
            if other.line and other.line.status == "ok"
        }
        return population in clearly_worse({**scores_of, population: scores}, population // 2, self.estimate.weights)

    def _learn(self, drawn: _Drawn, line: LedgerLine) -> None:
        """Keep a finished candidate; the strategy begins once the opening is scored."""
        if drawn.era is None:
            self._opened.append(line)
            if len(self._opened) == self._unopened:
                self._start()
            return
        self._finished[drawn.era].append(drawn)
        if drawn.era == self._era:
            self._untold.append(drawn)

    def _start(self) -> None:
        """Begin at the best of the opening; what the prelude drew counts where that is the prior's mean."""
        if self.left:
            self._strategy = self.begin(sorted(self._opened, key=lambda line: line.candidate))
            self._started = True
            self._asked = deque(self._strategy.ask())  # before it is told what the prelude drew
            if min(self._opened, key=best_first).candidate:
                self._moves += 1
                self._untold.clear()
        self.report()


def run_schedule(schedule: Schedule, workers: Workers, recorder: Recorder, time_limit: float = math.inf) -> bool:
    """Run a schedule to its end, from what the ledger knows of it; what equals a finished candidate is not asked again.

    Args:
        schedule: new.
        workers: as many as it was made for.
        recorder: with the schedule's ledger and callbacks.
        time_limit: seconds after which no further candidate is drawn.

    Returns:
        Whether it ended before the time limit.

    Raises:
        DarwinError: the ledger belongs to another search.
        KeyboardInterrupt: ``callbacks.interrupted`` returned True after a block.
    """
    ledger = recorder.ledger
    known = list(ledger.blocks)
    began = time.monotonic() - ledger.blocks.seconds() / workers.count
    waiting = {task.key: (worker, task) for worker, task in schedule.first()}
    for key in known:
        worker, task = waiting.pop(key, None) or ledger.refuse()
        outcome = ledger.known(task)
        assert outcome is not None
        waiting |= {new.key: (free, new) for free, new in schedule.take(worker, outcome)}
    out_of_time = False
    if known and time.monotonic() - began > time_limit:
        out_of_time, unbegun = schedule.end(unbegun=True)
        waiting = {key: given for key, given in waiting.items() if key not in unbegun}
    given, waiting = deque(waiting.values()), {}
    while given or waiting:
        if given:
            worker, task = given.popleft()
            equal = ledger.equal(task)
            if equal is None:
                waiting[task.key] = (worker, task)
                workers.submit(task, worker)
                continue
            outcome = equal  # of the same genes: no worker is asked
        else:
            outcome = workers.next()
            worker, _ = waiting.pop(outcome.task.key)
        ledger.keep(outcome)
        if recorder.callbacks.interrupted():
            raise KeyboardInterrupt
        if time.monotonic() - began > time_limit:
            out_of_time |= schedule.end()[0]
        given.extend(schedule.take(worker, outcome))
    schedule.report()
    return not out_of_time
