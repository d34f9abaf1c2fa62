"""The search loop: ask, race, tell, within a budget of candidates. It never sees a model.

Generation 0 is the opening: the prior's mean, a step back from it, and the father. CMA-ES starts from the best of
these. A search is resumed by doing it again: what the ledger's files know is not evaluated twice
(docs/decisions/0002), so an interrupted search ends like an unbroken one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.breeding.callbacks import GenerationStats, SearchCallbacks
from darwin_mri.breeding.estimate import Estimate
from darwin_mri.breeding.generation import GenerationRunner
from darwin_mri.breeding.ledger import Ledger
from darwin_mri.breeding.ranking import best_first, best_fitness, loss
from darwin_mri.breeding.spaces import Start
from darwin_mri.breeding.strategies import CMA, Random, Strategy
from darwin_mri.breeding.workers import ItemScores, Workers
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine


@dataclass(frozen=True)
class SearchOptions:
    """How a search is run.

    Attributes:
        budget: most candidates, the opening's included.
        population: candidates of a generation.
        seed: of the strategy's random numbers.
        racing: stop candidates that cannot reach the better half.
        strategy: cma, random, or prior-mean (the opening's first candidate alone).
        time_limit: seconds after which no generation begins.
    """

    budget: int
    population: int
    seed: int
    racing: bool = True
    strategy: str = "cma"
    time_limit: float = math.inf


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
    callbacks = callbacks or SearchCallbacks()
    runner = GenerationRunner(start.names, workers, estimate, ledger, callbacks)
    all_frozen = bool(start.frozen.all())
    opening = np.clip(start.opening, start.low, start.high)  # (candidates, genes)
    if all_frozen or options.strategy == "prior-mean":
        opening = opening[:1]
    racing = options.racing and not estimate.limits  # a race goes by fitness, which is not the order then
    began = time.monotonic() - sum(line.seconds for line in ledger.before)
    lines = runner.run(0, list(opening[: options.budget]), None, racing=False)
    callbacks.on_generation(_statistics(0, lines, lines, None))
    stopped = "nothing to search" if all_frozen else "budget"
    if not all_frozen and options.strategy != "prior-mean":
        strategy = _strategy(start, options, lines, _noise(lines, ledger, estimate))
        generation = 0
        while len(lines) < options.budget:
            if time.monotonic() - began > options.time_limit:
                stopped = "time"
                break
            generation += 1
            sigma, vectors = strategy.sigma, strategy.ask()
            new_lines = runner.run(generation, vectors[: options.budget - len(lines)], sigma, racing=racing)
            lines += new_lines
            callbacks.on_generation(_statistics(generation, new_lines, lines, sigma))
            if len(new_lines) < len(vectors):
                break  # an unfinished generation cannot be told to the strategy
            strategy.tell([loss(line) for line in new_lines])
    return SearchResult(_ranking(lines, ledger), stopped)


def _strategy(start: Start, options: SearchOptions, lines: Sequence[LedgerLine], noise: float) -> Strategy:
    """Random candidates, or CMA-ES from the best of the opening."""
    if options.strategy == "random":
        return Random(start, options.population, options.seed)
    best = min(lines, key=best_first)
    vector = np.array([best.genes[name] for name in start.names])  # (genes,)
    return CMA(start, vector, options.population, options.seed, noise)


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


def _statistics(
    generation: int, lines: Sequence[LedgerLine], all_lines: Sequence[LedgerLine], sigma: float | None
) -> GenerationStats:
    fitness = [line.fitness for line in lines if line.fitness is not None]
    best = best_fitness(list(all_lines))
    mean = float(np.mean(fitness)) if fitness else math.nan
    return GenerationStats(generation, len(lines), best, mean, sigma, sum(line.items for line in all_lines))
