"""The search loop: ask, race, tell, within a budget of candidates. It never sees a model.

Generation 0 is the opening: the prior's mean, a step back from it, and the father. CMA-ES starts from the best of these. A search
is resumed by doing it again: what the ledger's files know is not evaluated twice (docs/decisions/0002), so an interrupted search
ends like an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.race import hopeless
from darwin_mri.breeding.spaces import Start
from darwin_mri.breeding.strategies import CMA, Random
from darwin_mri.breeding.workers import ItemScores, Outcome, Task, Workers
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine

WORST = 1e6  # told to CMA-ES for a failed candidate: worse than any fitness in [0, 1]


class Estimate(Protocol):
    """Turns item scores into a fitness."""

    @property
    def blocks(self) -> int: ...

    @property
    def weights(self) -> dict[str, float]: ...

    def __call__(self, seen: ItemScores) -> tuple[float, dict[str, float]]:
        """(fitness, score by benchmark) from the scores of the blocks asked so far."""
        ...


@dataclass(frozen=True)
class Rules:
    """How a search is run; ``strategy``: cma, random, or prior-mean (the opening's first candidate alone)."""

    budget: int
    population: int
    seed: int
    racing: bool = True
    strategy: str = "cma"
    time_limit: float = math.inf  # seconds


@dataclass(frozen=True)
class Progressed:
    """A told generation, for whoever looks on."""

    generation: int
    candidates: int
    best: float
    mean: float
    sigma: float | None
    items: int


@dataclass(frozen=True)
class SearchResult:
    """Distinct candidates that were asked everything, best first."""

    ranking: tuple[LedgerLine, ...]
    stopped: str  # "budget", "time", or "nothing to search"


def search(
    start: Start,
    workers: Workers,
    estimate: Estimate,
    ledger: Ledger,
    rules: Rules,
    *,
    on_line: Callable[[LedgerLine], None] = lambda _: None,
    on_generation: Callable[[Progressed], None] = lambda _: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Spend the budget.

    Args:
        interrupted: asked after every block; when it says yes the search ends there, by KeyboardInterrupt.

    Raises:
        DarwinError: the ledger belongs to another search, or no candidate could be evaluated.
    """
    race = _Race(start, workers, estimate, ledger, rules.racing, on_line, interrupted)
    nothing = bool(start.frozen.all())
    opening = np.clip(start.opening, start.low, start.high)
    if nothing or rules.strategy == "prior-mean":
        opening = opening[:1]
    began = time.monotonic() - sum(line.seconds for line in ledger.before)
    lines = race.run(0, list(opening[: rules.budget]), None, all_items=True)
    on_generation(_told(0, lines, lines, None))
    stopped = "nothing to search" if nothing else "budget"
    if not nothing and rules.strategy != "prior-mean":
        best = max(lines, key=lambda line: -math.inf if line.fitness is None else line.fitness)
        vector = np.array([best.genes[name] for name in start.names])
        strategy = (
            Random(start, rules.population, rules.seed)
            if rules.strategy == "random"
            else CMA(start, vector, rules.population, rules.seed, _noise(lines, ledger, estimate))
        )
        generation = 0
        while len(lines) < rules.budget:
            if time.monotonic() - began > rules.time_limit:
                stopped = "time"
                break
            generation += 1
            sigma, asked = strategy.sigma, strategy.ask()
            mine = race.run(generation, asked[: rules.budget - len(lines)], sigma)
            lines += mine
            on_generation(_told(generation, mine, lines, sigma))
            if len(mine) < len(asked):
                break  # an unfinished generation cannot be told
            strategy.tell([WORST if line.fitness is None else -line.fitness for line in mine])
    scored = [line for line in lines if line.status == "ok"]
    if not scored:
        raise DarwinError(f"every candidate failed; the first reason: {lines[0].reason}. See {ledger.path.name}")
    distinct = {tuple(line.genes.values()): line for line in reversed(scored)}
    ranking = sorted(distinct.values(), key=lambda line: (-(line.fitness or 0.0), line.evaluation))
    return SearchResult(tuple(ranking), stopped)


def _noise(lines: Sequence[LedgerLine], ledger: Ledger, estimate: Estimate) -> float:
    """Standard error of the difference of two fitnesses over items, from the opening's candidates; 0 where it cannot be told."""
    whole = [_seen(ledger, line, estimate.blocks) for line in lines if line.status == "ok"]
    if len(whole) < 2:
        return 0.0
    variance = 0.0
    for name, weight in estimate.weights.items():
        difference = np.asarray(whole[0][name]) - np.asarray(whole[1][name])
        variance += weight**2 * float(difference.var()) / max(1, len(difference))
    return math.sqrt(variance)


def _seen(ledger: Ledger, line: LedgerLine, blocks: int) -> ItemScores:
    seen: ItemScores = {}
    for block in range(blocks):
        known = ledger.blocks[line.generation, line.candidate, block].scores or {}
        for name, scores in known.items():
            seen.setdefault(name, []).extend(scores)
    return seen


def _told(number: int, lines: Sequence[LedgerLine], all_lines: Sequence[LedgerLine], sigma: float | None) -> Progressed:
    fitness = [line.fitness for line in lines if line.fitness is not None]
    best = max(
        (line.fitness for line in all_lines if line.fitness is not None and line.status == "ok"), default=math.nan
    )
    mean = float(np.mean(fitness)) if fitness else math.nan
    return Progressed(number, len(lines), best, mean, sigma, sum(line.items for line in all_lines))


class _Race:
    """One generation: all candidates are asked block after block, and the hopeless are asked no more."""

    def __init__(
        self,
        start: Start,
        workers: Workers,
        estimate: Estimate,
        ledger: Ledger,
        racing: bool,
        on_line: Callable[[LedgerLine], None],
        interrupted: Callable[[], bool],
    ) -> None:
        self.start, self.workers, self.estimate, self.ledger = start, workers, estimate, ledger
        self.racing, self.on_line, self.interrupted = racing, on_line, interrupted

    def run(
        self, generation: int, vectors: Sequence[np.ndarray], sigma: float | None, *, all_items: bool = False
    ) -> list[LedgerLine]:
        genes = [dict(zip(self.start.names, map(float, vector), strict=True)) for vector in vectors]
        seen: list[ItemScores] = [{} for _ in vectors]
        seconds = [0.0] * len(vectors)
        lines: dict[int, LedgerLine] = {}

        def finish(number: int, status: str, reason: str = "") -> None:
            fitness, scores = (None, {}) if status == "failed" else self.estimate(seen[number])
            line = LedgerLine(
                evaluation=len(self.ledger.lines), generation=generation, candidate=number, genes=genes[number], fitness=fitness,
                scores=scores, items=sum(map(len, seen[number].values())), seconds=round(seconds[number], 4), status=status,
                reason=reason, sigma=sigma,
            )  # fmt: skip
            lines[number] = self.ledger.append(line)
            self.on_line(lines[number])

        alive = list(range(len(vectors)))
        for block in range(self.estimate.blocks):
            failed, last = {}, block == self.estimate.blocks - 1
            for outcome in self._outcomes([Task(generation, number, block, genes[number]) for number in alive]):
                number = outcome.task.candidate
                seconds[number] += outcome.seconds
                if outcome.scores is None:
                    failed[number] = outcome.reason
                    finish(number, "failed", outcome.reason)
                    continue
                for name, scores in outcome.scores.items():
                    seen[number].setdefault(name, []).extend(scores)
                if last:
                    finish(number, "ok")
            alive = [number for number in alive if number not in failed]
            if last or not self.racing or all_items:
                continue
            better = len(vectors) // 2
            for number in sorted(hopeless({n: seen[n] for n in alive}, better, self.estimate.weights)):
                asked = sum(map(len, seen[number].values()))
                finish(number, "raced", f"worse than the better half by more than chance after {asked} items")
                alive.remove(number)
        return [lines[number] for number in range(len(vectors))]

    def _outcomes(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Outcomes in the order of the tasks, whichever worker is first; known ones are not asked again."""
        found = {task.key: known for task in tasks if (known := self.ledger.known(task)) is not None}
        coming = self.workers.run([task for task in tasks if task.key not in found])
        for task in tasks:
            while task.key not in found:
                outcome = next(coming)
                self.ledger.keep(outcome)
                found[outcome.task.key] = outcome
                if self.interrupted():
                    raise KeyboardInterrupt
            yield found[task.key]
