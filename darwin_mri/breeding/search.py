"""The search loop: ask, race, tell, within a budget of candidates. It never sees a model.

It goes generation by generation, or, where several workers are not to wait for the slowest one, asynchronously
(``asynchronous``). Generation 0 is the opening: the prior's mean, a step back from it, and the father. CMA-ES starts
from the best of these. A search is resumed by doing it again: what the ledger's files know is not evaluated twice
(docs/decisions/0002), so an interrupted search ends like an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from darwin_mri.breeding.asynchronous import Schedule, run_schedule
from darwin_mri.breeding.callbacks import SearchCallbacks, generation_stats
from darwin_mri.breeding.candidates import Recorder
from darwin_mri.breeding.estimate import Estimate
from darwin_mri.breeding.generation import GenerationRunner
from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.options import SearchOptions
from darwin_mri.breeding.ranking import best_first
from darwin_mri.breeding.spaces import Start
from darwin_mri.breeding.strategies import CMA, AroundPrior, Random, Strategy
from darwin_mri.breeding.workers import ItemScores, Workers
from darwin_mri.config_sections import FRONTS
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with.

    Attributes:
        ranking: distinct candidates that were scored on all items, best first.
        stopped: why it ended: "budget", "time", or "nothing to search".
    """

    ranking: tuple[LedgerLine, ...]
    stopped: str


def search(
    start: Start,
    workers: Workers,
    estimate: Estimate,
    ledger: Ledger,
    options: SearchOptions,
    callbacks: SearchCallbacks | None = None,
) -> SearchResult:
    """Spend the budget.

    Args:
        start: the box, the opening, and where each gene starts.
        workers: evaluate candidates on blocks of items.
        estimate: turns item scores into a fitness.
        ledger: takes every evaluation; what it knows of an earlier part of this search is not evaluated again.
        options: budget, strategy, seed and so on.
        callbacks: called on the way.

    Returns:
        The ranking and why the search ended.

    Raises:
        DarwinError: the ledger belongs to another search, or no candidate could be evaluated.
        KeyboardInterrupt: ``callbacks.interrupted`` returned True.
    """
    recorder = Recorder(estimate, ledger, callbacks or SearchCallbacks())
    all_frozen = bool(start.frozen.all())
    opening = np.clip(start.opening, start.low, start.high)  # (candidates, genes)
    if all_frozen or options.strategy == "prior-mean":
        opening = opening[:1]
        options = replace(options, budget=1)
    if options.strategy in FRONTS or estimate.limits:
        options = replace(options, racing=False)  # a race goes by fitness, which is not the order then
    spend = _spend_asynchronously if options.asynchronous else _spend
    lines, in_time = spend(start, list(opening[: options.budget]), workers, options, recorder)
    stopped = "nothing to search" if all_frozen else "budget" if in_time else "time"
    return SearchResult(_ranking(lines, ledger), stopped)


def _spend(
    start: Start, opening: Sequence[np.ndarray], workers: Workers, options: SearchOptions, recorder: Recorder
) -> tuple[list[LedgerLine], bool]:
    """Spend the budget generation by generation: the lines, and whether it was spent within the time limit."""
    ledger, callbacks = recorder.ledger, recorder.callbacks
    runner = GenerationRunner(start.names, workers, recorder)
    began = time.monotonic() - sum(line.seconds for line in ledger.before)
    lines = runner.run(0, opening, None, racing=False)
    callbacks.on_generation(generation_stats(0, lines, lines, None))
    if len(lines) == options.budget:
        return lines, True
    strategy = _strategy(start, options, lines, recorder)
    generation = 0
    while len(lines) < options.budget:
        if time.monotonic() - began > options.time_limit:
            return lines, False
        generation += 1
        sigma, vectors = strategy.sigma, strategy.ask()
        new_lines = runner.run(generation, vectors[: options.budget - len(lines)], sigma, racing=options.racing)
        lines += new_lines
        callbacks.on_generation(generation_stats(generation, new_lines, lines, sigma))
        if len(new_lines) < len(vectors):
            break  # an unfinished generation cannot be told to the strategy
        strategy.tell(list(zip(vectors, new_lines, strict=True)))
    return lines, True


def _spend_asynchronously(
    start: Start, opening: Sequence[np.ndarray], workers: Workers, options: SearchOptions, recorder: Recorder
) -> tuple[list[LedgerLine], bool]:
    """As ``_spend``; a worker that is free gets the next candidate."""

    def begin(lines: Sequence[LedgerLine]) -> Strategy:
        return _strategy(start, options, lines, recorder)

    kind = Random if options.strategy == "random" else AroundPrior
    prelude = kind(start, options.population, options.seed, "while the opening is scored")
    schedule = Schedule(start.names, opening, prelude, begin, workers.count, options, recorder)
    in_time = run_schedule(schedule, workers, recorder, options.time_limit)
    return schedule.lines, in_time


def _strategy(start: Start, options: SearchOptions, lines: Sequence[LedgerLine], recorder: Recorder) -> Strategy:
    """Random candidates, CMA-ES from the best of the opening, or a strategy for the front of several objectives."""
    population, seed = options.population, options.seed
    if options.strategy == "random":
        return Random(start, population, seed)
    if options.strategy in FRONTS:
        from darwin_mri.breeding.fronts import front_strategy  # needs the extra [pareto]

        opening = [(_vector(line, start), line) for line in lines]
        return front_strategy(options.strategy, start, opening, tuple(recorder.estimate.weights), population, seed)
    best = min(lines, key=best_first)
    return CMA(start, _vector(best, start), population, seed, _noise(lines, recorder.ledger, recorder.estimate))


def _vector(line: LedgerLine, start: Start) -> np.ndarray:
    return np.array([line.genes[name] for name in start.names])  # (genes,)


def _ranking(lines: Sequence[LedgerLine], ledger: Ledger) -> tuple[LedgerLine, ...]:
    scored = [line for line in lines if line.status == "ok"]
    if not scored:
        raise DarwinError(f"every candidate failed; the first reason: {lines[0].reason}. See {ledger.path.name}")
    distinct = {tuple(line.genes.values()): line for line in reversed(scored)}
    return tuple(sorted(distinct.values(), key=best_first))


def _noise(lines: Sequence[LedgerLine], ledger: Ledger, estimate: Estimate) -> float:
    """Standard error over items of the difference of two fitnesses: of the first two of the opening that did not fail.

    0 where there are fewer than two.
    """
    scored = [_scores_of(ledger, line, estimate.blocks) for line in lines if line.status == "ok"]
    if len(scored) < 2:
        return 0.0
    variance = 0.0
    for name, weight in estimate.weights.items():
        difference = np.asarray(scored[0][name]) - np.asarray(scored[1][name])  # (items,)
        variance += weight**2 * float(difference.var()) / max(1, len(difference))
    return math.sqrt(variance)


def _scores_of(ledger: Ledger, line: LedgerLine, blocks: int) -> ItemScores:
    scores: ItemScores = {}
    for block in range(blocks):
        for name, values in (ledger.blocks[line.generation, line.candidate, block].scores or {}).items():
            scores.setdefault(name, []).extend(values)
    return scores
