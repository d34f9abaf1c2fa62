"""The repaired child on the held-out items, beside the unrepaired one, the parents and nulls of its own."""

from __future__ import annotations

import hashlib
from functools import partial

from darwin_mri.checkpoints import ModelSource
from darwin_mri.problem.comparison import Contestants
from darwin_mri.problem.model_bench import ModelBench
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.repair import NULLS, RepairRun
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Genome, RepairRecord
from darwin_mri.records.roles import NULL_PREFIX, PARENTS
from darwin_mri.run import Run

REPAIRED = "child-repaired"


def compare_repaired(
    run: Run, parents: Parents, space: MergeSpace, genome: Genome, models: Contestants, bench: ModelBench
) -> None:
    """Score the repaired child and its nulls where a repair was chosen, and compare.

    In this comparison ``child`` is the repaired one, and the unrepaired one is a baseline.

    Args:
        run: has repair.json and child-repaired/; gets answers/ and comparison-repaired.json.
        parents: the father is resident, and alone so afterwards.
        space: with the genome that was searched.
        genome: of the child.
        models: answers of the parents and of the unrepaired child.
        bench: that asked them.
    """
    config = run.config
    strength = RepairRecord.load(run.path("repair.json")).strength if config.repair else None
    if strength is None:
        return
    compared = Contestants()
    for key, (name, role) in models.names.items():
        if role in PARENTS:
            compared.add(key, name, role, models.answers[key])
    source = ModelSource(REPAIRED, run.path(REPAIRED), None)
    with parents.room_for(source):
        compared.add("child", f"{config.name}, repaired", "child", bench.ask_local(REPAIRED, source))
    compared.add("unrepaired", f"{config.name}, not repaired", "baseline", models.answers["child"])
    with RepairRun.opened(run, parents, space, genome) as repairs:
        for null in NULLS:
            role = f"{NULL_PREFIX}{null}"
            digest = hashlib.sha256(f"{repairs.digest} {null} {strength}".encode()).hexdigest()
            make = partial(repairs.null, null, strength)
            compared.add(role, null, role, bench.ask_made(role, f"null {null}", digest, make))
            repairs.folder(null).remove()
    comparison = compared.compare(bench, parents.items.benchmarks, config.weights, config.seed, limits=config.limits)
    comparison.save(run.path("comparison-repaired.json"))
