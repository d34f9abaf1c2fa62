"""The search stage: from the prior to a winner named on fresh items."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

from darwin_mri.benchmarks import Scorer
from darwin_mri.breeding import Ledger, Means, Progressed, Rules, SearchResult, null_genomes, search
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.records import Genome, LedgerLine, PairScan, Prior
from darwin_mri.stages.anchoring import LoggedScores, anchor
from darwin_mri.stages.evaluating import open_workers
from darwin_mri.stages.fitness import Fitness, weighted
from darwin_mri.stages.interrupting import gentle_interrupt
from darwin_mri.stages.items import Items
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded
from darwin_mri.stages.run import Progress, Run

LEDGER, BLOCKS = "ledger.jsonl", "state/blocks.jsonl"


def find_winner(
    run: Run,
    father: Loaded,
    mother_ref: str,
    base_ref: str | None,
    breed: Breed,
    prior: Prior,
    pair: PairScan,
    items: Items,
    logged: LoggedScores,
    progress: Progress,
    *,
    offline: bool = False,
) -> Genome:
    """Search from the prior, re-score the finalists on fresh search items, and name the winner.

    Args:
        breed: with the space that is searched (``Breed.searching``).
        logged: the mother's scores on the search items, where anchors are wanted.
    """
    config = run.config
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    scorer = Scorer(father.model, father.tokenizer, beyond_context=config.bench.long_items == "beyond")
    start = breed.genome.start(prior)
    asked, estimate, spent = items.search, Means(config.search.blocks, config.weights), 0
    if config.search.anchors:
        whole = Fitness(candidate, breed, scorer, items.search, smooth=config.search.smooth)
        asked, estimate, spent = anchor(run, whole, start, items.search, logged, progress)
    evaluate = Fitness(candidate, breed, scorer, asked, blocks=config.search.blocks, smooth=config.search.smooth)
    workers = open_workers(run, evaluate, prior, asked, offline)
    ledger = Ledger(run.path(LEDGER), run.path(BLOCKS))
    rules = Rules(
        budget=config.search.budget, population=config.search.population, seed=config.seed, racing=config.search.racing,
        strategy=config.search.strategy, time_limit=config.search.time_limit or math.inf,
    )  # fmt: skip
    try:
        with progress.stage("search", rules.budget) as advance, gentle_interrupt(progress.say) as interrupted:
            result = search(
                start, workers, estimate, ledger, rules,
                on_line=lambda line: advance(1), on_generation=_teller(progress, rules.budget), interrupted=interrupted,
            )  # fmt: skip
    finally:
        workers.close()
    if candidate.kept_out:
        movable = {name for names in breed.tensors().values() for name in names}
        progress.say(
            f"{len(candidate.kept_out)} of {len(movable)} tensors had no room to be kept and were made anew for each candidate"
        )
    finalists = result.ranking[: config.search.finalists]
    scores = _on(items.fresh, candidate, breed, scorer, finalists, config, progress)
    winner = max(finalists, key=lambda line: (scores[line.evaluation], -line.evaluation)) if scores else finalists[0]
    held_out = {name: items.held_out[name] for name in config.weights}
    after = _on(held_out, candidate, breed, scorer, [winner], config, progress)
    candidate.restore()
    return Genome(
        space=breed.genome.name,
        method=config.method,
        seed=config.seed,
        father=father.source.ref,
        mother=mother_ref,
        base=base_ref,
        genes=winner.genes,
        ratios=breed.genome.ffn_ratios(winner.genes, len(father.anatomy.layers)),
        nulls=null_genomes(breed.genome, start, winner.genes, config.seed),
        layer_map=pair.layer_map,
        **breed.recorded(config, winner.genes),
        search_score=winner.fitness,
        retest_score=scores.get(winner.evaluation),
        held_out_score=after.get(winner.evaluation),
        account=_account(result, ledger, items, spent, len(scores)),
        stopped=result.stopped,
    )


def _on(
    items: Mapping[str, Sequence],
    candidate: Candidate,
    breed: Breed,
    scorer: Scorer,
    lines: Sequence[LedgerLine],
    config: Config,
    progress: Progress,
) -> dict[int, float]:
    """Fitness of some candidates on other items, by evaluation; empty where a benchmark has none left."""
    if not all(items.get(name) for name in config.weights):
        return {}
    fitness = Fitness(candidate, breed, scorer, items, smooth=config.search.smooth)
    scores = {}
    with progress.stage("re-test finalists" if len(lines) > 1 else "held-out fitness", len(lines)) as advance:
        for line in lines:
            scores[line.evaluation] = weighted(fitness(line.genes), config.weights)
            advance(1)
    return scores


def _account(result: SearchResult, ledger: Ledger, items: Items, logged: int, finalists: int) -> dict[str, int]:
    """Item evaluations: what the search asked, what anchors were chosen by, the re-test, and what racing and anchors saved."""
    pool = sum(map(len, items.search.values()))
    asked = sum(line.items for line in ledger.lines)
    return {
        "candidates": len(ledger.lines),
        "asked": asked,
        "logged": logged,
        "retest": finalists * sum(map(len, items.fresh.values())),
        "saved": len(ledger.lines) * pool - asked - logged,
    }


def _teller(progress: Progress, budget: int) -> Callable[[Progressed], None]:
    """One line per generation: how far, how good, how wide, how long still."""
    began, done = time.monotonic(), 0

    def tell(now: Progressed) -> None:
        nonlocal done
        done += now.candidates
        left = (time.monotonic() - began) / max(1, done) * (budget - done)
        sigma = "" if now.sigma is None else f", sigma {now.sigma:.2f}"
        progress.status(
            f"generation {now.generation}: best {now.best:.4f}, mean {now.mean:.4f}{sigma}, {now.items} items, {left:.0f} s left"
        )

    return tell
