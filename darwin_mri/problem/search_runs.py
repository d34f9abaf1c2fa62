"""One search with a config's workers, and scores of some of its candidates on other items."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import (
    GenerationStats,
    Ledger,
    SearchCallbacks,
    SearchOptions,
    SearchResult,
    search,
)
from darwin_mri.config import Config
from darwin_mri.problem.anchors import SearchItems
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.problem.front import ScoresByLine, means
from darwin_mri.problem.workers import open_workers
from darwin_mri.records import LedgerLine, Prior
from darwin_mri.run import Progress, Run, gentle_interrupt

MAIN = "search"
"""Title of the run's own search."""


@dataclass(frozen=True)
class SearchRun:
    """One search of a run: the run's own, or one beside it.

    Attributes:
        run: whose config and folder workers read.
        evaluator: of the space that is searched.
        prior: where the search starts.
        ledger: takes every evaluation.
        offline: never ask the hub.
    """

    run: Run
    evaluator: Evaluator
    prior: Prior
    ledger: Ledger
    offline: bool

    def spend(self, judged: SearchItems, options: SearchOptions, title: str = MAIN) -> SearchResult:
        """Search until the budget is spent.

        Args:
            judged: what candidates are scored on.
            options: budget, strategy and so on.
            title: of the progress bar.

        Returns:
            The ranking, and why the search ended.
        """
        progress, start = self.run.progress, self.evaluator.space.genome.start(self.prior)
        fitness = self.evaluator.on(judged.items, blocks=self.run.config.search.blocks)
        workers = open_workers(self.run, fitness, self.prior, self.offline)
        try:
            with progress.stage(title, options.budget) as advance, gentle_interrupt(progress.say) as interrupted:
                show, log = _generation_status(progress, options.budget), self.run.trackers.log

                def tell(stats: GenerationStats) -> None:
                    show(stats)
                    if title == MAIN:  # searches beside it are not the run's course
                        log(_course(stats), stats.generation)

                callbacks = SearchCallbacks(
                    on_line=lambda line: advance(1),
                    on_generation=tell,
                    interrupted=interrupted,
                )
                return search(start, workers, judged.estimate, self.ledger, options, callbacks)
        finally:
            workers.close()

    def score(self, lines: Sequence[LedgerLine], items: Mapping[str, Sequence[Item]], title: str) -> ScoresByLine:
        """Scores of some candidates on other items.

        Args:
            lines: of the candidates.
            items: by task.
            title: of the progress bar.

        Returns:
            Their scores by evaluation; empty where a task of the fitness, or of a limit, has no items.
        """
        if not all(items.get(name) for name in self.run.config.searched):
            return {}
        fitness, scores = self.evaluator.on(items), {}
        with self.run.progress.stage(title, len(lines)) as advance:
            for line in lines:
                scores[line.evaluation] = means(fitness.whole(line.genes))
                advance(1)
        return scores


def search_options(config: Config) -> SearchOptions:
    """The options of a config's search."""
    return SearchOptions(
        budget=config.search.budget,
        population=config.search.population,
        seed=config.seed,
        racing=config.search.racing,
        strategy=config.search.strategy,
        time_limit=config.search.time_limit or math.inf,
        asynchronous=config.search.is_asynchronous,
    )


def _course(stats: GenerationStats) -> dict[str, float | None]:
    """What trackers are told of a generation."""
    return {
        "fitness/best": stats.best,
        "fitness/mean": stats.mean,
        "fitness/spread": stats.spread,
        "fitness/step-size": stats.sigma,
        **{f"best/{name}": score for name, score in stats.scores.items()},
        "generation/candidates": stats.candidates,
        "spent/items": stats.items,
        "spent/seconds": stats.seconds,
    }


def _generation_status(progress: Progress, budget: int) -> Callable[[GenerationStats], None]:
    """One line per generation: how far, how good, how wide, how long still."""
    began, done = time.monotonic(), 0

    def report(stats: GenerationStats) -> None:
        nonlocal done
        done += stats.candidates
        left = (time.monotonic() - began) / max(1, done) * (budget - done)
        sigma = "" if stats.sigma is None else f", sigma {stats.sigma:.2f}"
        progress.status(
            f"generation {stats.generation}: best {stats.best:.4f}, mean {stats.mean:.4f}{sigma}, {stats.items} items,"
            f" {left:.0f} s left"
        )

    return report
