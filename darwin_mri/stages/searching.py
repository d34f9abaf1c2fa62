"""The prior and search stages: measure the blend response, start from it, name a winner on fresh items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.benchmarks import Scorer
from darwin_mri.breeding import Ledger, SearchResult, null_genomes, search
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.mri import GeneSlopes, gene_slopes, make_prior, responses, text_blocks
from darwin_mri.mri.response import BlockLoss
from darwin_mri.probes import Reading, read, select_reading
from darwin_mri.records import Genome, LedgerLine, PairScan, Prior, Response
from darwin_mri.stages.items import Fitness, Items, fitness_blocks
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, chosen_probes
from darwin_mri.stages.run import Progress, Run

TEXT_BLOCKS = 12  # blocks of probe documents: the unit of resampling of the freezing rule


@dataclass(frozen=True)
class Winner:
    genome: Genome
    result: SearchResult


def measure_prior(
    run: Run, father: Loaded, breed: Breed, pair: PairScan, items: Items, progress: Progress
) -> tuple[Prior, PairScan]:
    """Channel 6 and the prior. The pair record gains the responses; both are written."""
    if run.keep and run.path("prior.json").is_file():
        return Prior.load(run.path("prior.json")), pair
    config = run.config
    genes = breed.space.layers()
    responding = config.prior.preset == "response"
    losses: dict[str, Sequence[BlockLoss]] = {}
    if responding:
        losses["fitness"] = fitness_blocks(father.model, father.tokenizer, items.search, config)
    for name in config.prior.protect:
        losses[f"protect:{name}"] = _protected_blocks(father, config, name) if responding else []
    slopes: dict[str, GeneSlopes] = {}
    found: list[Response] = []
    directions = {
        gene.name: {name: breed.merge.direction(name, config.reference_ratio) for name in gene.tensors}
        for gene in breed.space.genes
    } if responding else {}  # fmt: skip
    with progress.stage("blend response", 2 * sum(len(blocks) for blocks in losses.values())) as advance:
        for name, blocks in losses.items():
            if not blocks:
                continue
            zero, at_zero = gene_slopes(father.model, directions, 0.0, blocks, advance)
            reference, _ = gene_slopes(father.model, directions, config.reference_ratio, blocks, advance)
            slopes[name] = GeneSlopes(zero, reference, float(at_zero.mean()))
            found += responses(
                list(genes), name, zero, reference, config.reference_ratio, config.scan.bootstrap, config.seed
            )
    prior = make_prior(
        genes,
        pair.layer_map,
        config.prior,
        upper=config.upper,
        reference=config.reference_ratio,
        fitness=slopes.get("fitness"),
        protected={name: slopes[f"protect:{name}"] for name in config.prior.protect if f"protect:{name}" in slopes},
        resamples=config.scan.bootstrap,
        seed=config.seed,
    )
    pair = pair.model_copy(update={"response": tuple(found)})
    pair.save(run.path("scan/pair.json"))
    prior.save(run.path("prior.json"))
    return prior, pair


def _protected_blocks(father: Loaded, config: Config, name: str) -> list[BlockLoss]:
    """NLL per byte of the probe texts of a language or domain, in blocks of documents."""
    device = str(next(father.model.parameters()).device)
    reading: Reading = read(
        chosen_probes(config.scan, config.seed), father.tokenizer, max_tokens=config.scan.max_tokens, device=device
    )
    rows = [i for i, probe in enumerate(reading.probes) if name in (probe.language, probe.domain)]
    blocks = [rows[start::TEXT_BLOCKS] for start in range(min(TEXT_BLOCKS, len(rows)))]
    batches = []
    for block in blocks:
        part = select_reading(reading, block, device=device, token_budget=1 << 30)
        batches.append((part.batches[0], float(part.bytes_read.sum())))
    return text_blocks(father.model, batches)


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
        gate_rms=breed.gate_rms,
        settings={"density": config.density, "rescale": config.rescale, "upper": config.upper},
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
