"""The search stage: from the prior to a winner named on fresh items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.benchmarks import Scorer
from darwin_mri.breeding import Ledger, SearchResult, null_genomes, search
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.records import Genome, LedgerLine, PairScan, Prior
from darwin_mri.stages.items import Fitness, Items
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded
from darwin_mri.stages.run import Progress, Run


@dataclass(frozen=True)
class Winner:
    genome: Genome
    result: SearchResult


def find_winner(
    run: Run,
    father: Loaded,
    mother_ref: str,
    base_ref: str | None,
    breed: Breed,
    prior: Prior,
    pair: PairScan,
    items: Items,
    progress: Progress,
) -> Winner:
    """Search from the prior, re-score the finalists on fresh search items, and write genome.json."""  # fmt: skip
    config = run.config
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    scorer = Scorer(father.model, father.tokenizer, beyond_context=config.bench.long_items == "beyond")
    fitness = Fitness(candidate, scorer, items.search, config)
    ledger = Ledger(run.path("ledger.jsonl"))
    best = float("-inf")
    with progress.stage("search", config.search.budget) as advance:

        def show(line: LedgerLine) -> None:
            nonlocal best
            advance(1)
            if line.fitness is not None and line.fitness > best:
                best = line.fitness
                progress.say(f"evaluation {line.evaluation + 1}: best fitness {best:.4f}")

        result = search(
            prior, fitness, ledger, budget=config.search.budget, population=config.search.population, seed=config.seed,
            on_line=show,
        )  # fmt: skip
    finalists = result.ranking[: config.search.finalists]
    winner, retest = _retest(candidate, scorer, finalists, items, config, progress)
    candidate.restore()
    genome = Genome(
        space=breed.space.name,
        method=config.method,
        seed=config.seed,
        father=father.source.ref,
        mother=mother_ref,
        base=base_ref,
        genes=winner.genes,
        ratios=breed.space.ffn_ratios(winner.genes, len(father.anatomy.layers)),
        nulls=null_genomes(prior, winner.genes, config.seed),
        layer_map=pair.layer_map,
        **breed.recorded(config),
        search_score=winner.fitness,
        retest_score=retest,
    )
    genome.save(run.path("genome.json"))
    return Winner(genome, result)


def _retest(
    candidate: Candidate,
    scorer: Scorer,
    finalists: Sequence[LedgerLine],
    items: Items,
    config: Config,
    progress: Progress,
) -> tuple[LedgerLine, float | None]:
    """The finalist with the best fitness on fresh items, and that fitness; the search's best when no items are left."""
    if not all(items.fresh.get(name) for name in config.weights):
        return finalists[0], None
    fresh = Fitness(candidate, scorer, items.fresh, config)
    scores: Mapping[int, float] = {}
    with progress.stage("re-test finalists", len(finalists)) as advance:
        scores = {}
        for line in finalists:
            scores[line.evaluation] = fresh(line.genes).fitness
            advance(1)
    winner = max(finalists, key=lambda line: (scores[line.evaluation], -line.evaluation))
    assert np.isfinite(scores[winner.evaluation])
    return winner, scores[winner.evaluation]
