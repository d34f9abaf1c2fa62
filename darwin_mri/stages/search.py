"""Stage ``search``: from the prior to a winner, chosen on items the search has not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import (
    GenerationStats,
    Ledger,
    Means,
    SearchCallbacks,
    SearchOptions,
    SearchResult,
    null_genomes,
    search,
)
from darwin_mri.config import Config
from darwin_mri.problem.anchors import ScoresByModel, anchor
from darwin_mri.problem.fitness import least_scores
from darwin_mri.problem.front import (
    ScoresByLine,
    choose_member,
    describe_preference,
    find_front,
    front_members,
    means,
    score_references,
)
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.served import open_evaluator
from darwin_mri.problem.space import MergeSpace
from darwin_mri.problem.workers import open_workers
from darwin_mri.records import Genome, LedgerLine, Prior
from darwin_mri.records.roles import MOTHER
from darwin_mri.run import Progress, Run, gentle_interrupt

LEDGER, BLOCKS = "ledger.jsonl", "state/blocks.jsonl"


def find_winner(
    run: Run, parents: Parents, space: MergeSpace, prior: Prior, scans: Scans, scores: ScoresByModel
) -> Genome:
    """Search from the prior, score the finalists again on fresh search items, and take the best.

    Args:
        run: gets ledger.jsonl and genome.json.
        parents: the father is resident.
        space: with the genome that is searched (``MergeSpace.for_search``).
        prior: where the search starts.
        scans: whose layer map the genome records.
        scores: of parents on the search items, where anchors or limits need them.

    Returns:
        The winner's genome.
    """
    return run.record("genome.json", Genome, lambda: _Search(run, parents, space, prior).genome(scans, scores))


class _Search:
    """One search: its candidates are written into the resident father, or into an engine in its place."""

    def __init__(self, run: Run, parents: Parents, space: MergeSpace, prior: Prior) -> None:
        self.run, self.parents, self.space, self.prior = run, parents, space, prior
        self.start = space.genome.start(prior)
        self.evaluator = open_evaluator(run.config, parents.father, space)

    def genome(self, scans: Scans, scores: ScoresByModel) -> Genome:
        """Search, test finalists on fresh items and the winner on held-out ones; the father gets its weights back."""
        config, items = self.run.config, self.parents.items
        held_out_items = {name: items.held_out[name] for name in config.weights}
        several = config.search.finds_front
        with self.evaluator.instead_of(self.parents.father):
            self.evaluator.expect(items.search, items.fresh, held_out_items)
            result, ledger, spent = self._search(scores)
            finalists = find_front(result.ranking, config) if several else _finalists(result.ranking, config)
            fresh = self._score(finalists, items.fresh, "re-test finalists")
            winner = choose_member(finalists, fresh, config) if several else self._best(finalists, fresh)
            held_out = self._score(finalists if several else [winner], held_out_items, "held-out fitness")
            self.evaluator.candidate.restore()
        father, genome = self.parents.father, self.space.genome
        nulls = null_genomes(genome, self.start, winner.genes, config.seed)
        return Genome(
            space=genome.name,
            method=config.method,
            seed=config.seed,
            father=father.source.ref,
            mother=self.parents.sources[MOTHER].ref,
            parents=tuple(source.ref for source in self.parents.sources.values()),
            tokenizer=config.tokenizer,
            base=self.parents.base and self.parents.base.ref,
            genes=self.space.written_genes(winner.genes),
            ratios=genome.ffn_ratios(winner.genes, len(father.layers)),
            nulls=nulls,
            layer_map=scans.pair.layer_map,
            **self.space.genome_fields(config, winner.genes),
            search_score=winner.fitness,
            retest_score=self._fitness(winner, fresh),
            held_out_score=self._fitness(winner, held_out),
            account=_account(result, ledger, items, spent, len(fresh)),
            stopped=result.stopped,
            **(self._front_fields(finalists, winner, fresh, held_out, nulls) if several else {}),
        )

    def _front_fields(
        self,
        front: Sequence[LedgerLine],
        winner: LedgerLine,
        fresh: ScoresByLine,
        held_out: ScoresByLine,
        nulls: Mapping[str, Mapping[str, float]],
    ) -> dict[str, Any]:
        """What the genome's record holds of a search with several objectives."""
        run, parents, config = self.run, self.parents, self.run.config
        items = {name: parents.items.held_out[name] for name in config.weights}
        return {
            "objectives": tuple(config.weights),
            "front": front_members(front, fresh, held_out, self.space, len(parents.father.layers)),
            "references": score_references(parents, self.space, nulls, items, run.progress),
            "member": 1 + front.index(winner),
            "preferred": describe_preference(config, fresh),
        }

    def _best(self, finalists: Sequence[LedgerLine], fresh: ScoresByLine) -> LedgerLine:
        """The finalist of the highest fitness on fresh items; the first one where there are none."""
        ranked = sorted(finalists, key=lambda line: (-(self._fitness(line, fresh) or 0.0), line.evaluation))
        return ranked[0] if fresh else finalists[0]

    def _fitness(self, line: LedgerLine, scores: ScoresByLine) -> float | None:
        """The weighted sum of a candidate's scores; None where it was not scored."""
        own = scores.get(line.evaluation)
        if own is None:
            return None
        return float(sum(weight * own[name] for name, weight in self.run.config.weights.items()))

    def _search(self, scores: ScoresByModel) -> tuple[SearchResult, Ledger, int]:
        """The result, the ledger, and the item evaluations that choosing anchors took."""
        run, config, progress = self.run, self.run.config, self.run.progress
        pool = self.parents.items.search
        limits = least_scores(config, scores)
        items, estimate, spent = pool, Means(config.search.blocks, config.weights, limits), 0
        if config.search.anchors:
            anchored = anchor(run, self.evaluator, self.start, pool, scores, limits)
            items, estimate, spent = anchored.items, anchored.estimate, anchored.spent
        fitness = self.evaluator.on(items, blocks=config.search.blocks)
        workers = open_workers(run, fitness, self.prior, self.parents.offline)
        ledger, options = Ledger(run.path(LEDGER), run.path(BLOCKS)), _options(config)
        try:
            with progress.stage("search", options.budget) as advance, gentle_interrupt(progress.say) as interrupted:
                callbacks = SearchCallbacks(
                    on_line=lambda line: advance(1),
                    on_generation=_generation_status(progress, options.budget),
                    interrupted=interrupted,
                )
                result = search(self.start, workers, estimate, ledger, options, callbacks)
        finally:
            workers.close()
        self._report_recomputed()
        return result, ledger, spent

    def _report_recomputed(self) -> None:
        recomputed = self.evaluator.candidate.kept_out
        if recomputed:
            movable = {name for names in self.space.tensors().values() for name in names}
            self.run.progress.say(
                f"{len(recomputed)} of {len(movable)} tensors had no room to be kept and were computed again for each"
                " candidate"
            )

    def _score(self, lines: Sequence[LedgerLine], items: Mapping[str, Sequence[Item]], title: str) -> ScoresByLine:
        """Scores of some candidates on other items, by evaluation; empty where a benchmark has none left."""
        if not all(items.get(name) for name in self.run.config.weights):
            return {}
        fitness, scores = self.evaluator.on(items), {}
        with self.run.progress.stage(title, len(lines)) as advance:
            for line in lines:
                scores[line.evaluation] = means(fitness.whole(line.genes))
                advance(1)
        return scores


def _options(config: Config) -> SearchOptions:
    return SearchOptions(
        budget=config.search.budget,
        population=config.search.population,
        seed=config.seed,
        racing=config.search.racing,
        strategy=config.search.strategy,
        time_limit=config.search.time_limit or math.inf,
        asynchronous=config.search.is_asynchronous,
    )


def _finalists(ranking: Sequence[LedgerLine], config: Config) -> Sequence[LedgerLine]:
    """The best candidates; none that breaks a limit where one keeps them all."""
    best = ranking[: config.search.finalists]
    kept = [line for line in best if line.violation == 0]
    return kept or best


def _account(result: SearchResult, ledger: Ledger, items: Items, logged: int, finalists: int) -> dict[str, int]:
    """Item evaluations: of the search, of choosing anchors, of the re-test, and what racing and anchors saved."""
    pool = sum(map(len, items.search.values()))
    evaluated = sum(line.items for line in ledger.lines)
    return {
        "candidates": len(ledger.lines),
        "asked": evaluated,
        "logged": logged,
        "retest": finalists * sum(map(len, items.fresh.values())),
        "saved": len(ledger.lines) * pool - evaluated - logged,
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
