"""A child of the table, repaired as ``breed --repair`` does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from darwin_mri.checkpoints.model import stored_tensors
from darwin_mri.config import RepairConfig
from darwin_mri.problem.repair import RepairRun, trial_name
from darwin_mri.problem.repair_models import CHILD
from darwin_mri.problem.repair_texts import tokenize_texts
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Genome
from proving.methods.bench import Bench


def repaired_weights(
    bench: Bench, space: MergeSpace, genes: Mapping[str, float], strength: float | None, null: str | None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The weights of a child after its repair.

    Args:
        bench: the father is resident with its own weights, and keeps them.
        space: of the genes.
        genes: of the child.
        strength: of the repair; the one that does best on the fresh items when None.
        null: one of the repair's nulls, or None.

    Returns:
        (strength, and what every strength that was tried scored; tensors by name in memory).
    """
    settings = RepairConfig(optional=False)
    config = bench.config.model_copy(update={"repair": settings})
    genome = Genome(
        space=space.genome.name,
        method=config.method,
        seed=config.seed,
        father=config.father,
        mother=config.mother,
        base=config.base,
        parents=config.parents,
        genes=dict(genes),
        ratios=(),
    )
    tried: list[dict[str, Any]] = []
    with RepairRun.opened(bench.open_run("repair", config), bench.parents, space, genome) as repairs:
        repairs.tokenized = tokenize_texts(bench.texts, bench.father.tokenizer, settings, "cpu")
        if strength is None:
            choices = repairs.choices({})
            tried, strength = [choice.model_dump(mode="json") for choice in choices], choices[0].strength
            assert strength is not None  # it is not optional here
        repairs.repair(null or trial_name(strength), strength, null)
        with repairs.models.on_device(CHILD) as child:
            weights = {name: value.detach().clone() for name, value in stored_tensors(child.model).items()}
    return {"strength": strength, "tried": tried}, weights


@torch.no_grad()
def write_tensors(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Write tensors into others of the same names."""
    for name, value in target.items():
        value.copy_(source[name])
