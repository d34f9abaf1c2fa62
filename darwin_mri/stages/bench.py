"""Stage ``bench``: parents, child, null children and baselines answer held-out items, and the child is compared."""

from __future__ import annotations

import hashlib
import json

from darwin_mri.benchmarks.store import AnswerStore
from darwin_mri.checkpoints import ModelSource, find_model
from darwin_mri.merging import Candidate
from darwin_mri.problem.comparison import Contestants
from darwin_mri.problem.model_bench import ModelBench
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.repair_bench import compare_repaired
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Comparison, Genome
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Run


def bench_run(run: Run, parents: Parents, space: MergeSpace, genome: Genome) -> Comparison:
    """Score every model of a run and compare the child with the others.

    Args:
        run: gets answers/, comparison.json and, where the child was repaired, comparison-repaired.json.
        parents: the father is resident; null children are written into it, and it has its own weights afterwards.
        space: with the genome that was searched.
        genome: the winner and its null genomes.

    Returns:
        The comparison.
    """
    config, items = run.config, parents.items
    store = AnswerStore(run.folder, run.progress)
    bench = ModelBench(store, items.held_out, config.bench, parents.device, config.dtype, config.tasks)
    models = Contestants()
    father = parents.father
    models.add(FATHER, father.source.ref, FATHER, bench.ask_local(FATHER, father.source, father))
    loaded = [(role, parents.sources[role], parents.sources[role].ref) for role in parents.others]
    loaded.append(("child", ModelSource("child", run.path("child"), None), config.name))
    if config.bench.baseline:
        baseline = find_model(config.bench.baseline, offline=parents.offline)
        loaded.append(("baseline", baseline, baseline.ref))
    for role, source, name in loaded:
        with parents.room_for(source):
            models.add(role, name, role, bench.ask_local(role, source))
    _ask_nulls(models, bench, parents, space, genome)
    if config.bench.endpoint:
        name, answers = bench.ask_served("served", config.bench.endpoint)
        models.add("served", name, "baseline", answers)
    comparison = models.compare(bench, items.benchmarks, config.weights, config.seed, limits=config.limits)
    comparison.save(run.path("comparison.json"))
    compare_repaired(run, parents, space, genome, models, bench)
    return comparison


def _ask_nulls(models: Contestants, bench: ModelBench, parents: Parents, space: MergeSpace, genome: Genome) -> None:
    """Answers of the null children, each written into the resident father."""
    father = parents.father
    for name, genes in genome.nulls.items():
        candidate = Candidate(father.model, space.tensors(), space.for_null(name).merge)
        content = [father.digest, genome.roles, genome.method, genome.settings, name, genes]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        candidate.apply(genes, space.exceptions(genes))
        models.add(
            f"null:{name}", name, f"null:{name}", bench.ask_resident(f"null:{name}", f"null {name}", digest, father)
        )
        candidate.restore()
        candidate.release()  # the next one keeps a share of what is free
