"""Ratios fitted by descent, one per parent or one per layer and parent; and what each gene is truly worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from darwin_mri.mri import descend
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.problem.slopes import fitness_loss, open_slopes
from darwin_mri.run import MeasurementCache, Silent
from proving.methods.bench import TASK, Bench, grades

GRADIENT = 3  # forwards that one gradient costs
STEP = 0.3  # by which the truth moves a gene
BLOCKS = 8  # of items, in which the truth is kept


def fit_ratios(bench: Bench, evaluator: Evaluator, start: float, *, by_layer: bool) -> tuple[dict[str, float], int]:
    """Descend the negated log-probability of the search items' right answers, from one ratio for all genes.

    Args:
        bench: the father has its own weights afterwards.
        evaluator: of the space.
        start: the ratio of all genes.
        by_layer: whether each layer has its own ratio of a parent; else all layers have the same.

    Returns:
        (gene -> ratio, evaluations of the gradient).
    """
    bench.restore()
    config, genes = evaluator.config, evaluator.space.space.genes
    groups = [gene.name if by_layer else gene.parent for gene in genes]
    names = list(dict.fromkeys(groups))
    member = np.array([[group == name for group in groups] for name in names], dtype=float)  # (numbers, genes)
    run = bench.open_run("fitted", config)
    cache = MeasurementCache(run.path("state/response.jsonl"), "fitted", False)
    read_slopes = open_slopes(run, bench.father, evaluator.space, cache, Silent())
    loss, evaluations = fitness_loss("fitness", bench.father, {TASK: bench.parts.search}, {TASK: 1.0}, log=True), 0

    def loss_and_slopes(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal evaluations
        evaluations += 1
        slopes, losses = read_slopes(loss, numbers @ member)
        return float(losses.mean()), member @ slopes.mean(0)

    at = np.full(len(names), start)
    free = [True] * len(names)
    descent = descend(loss_and_slopes, at, loss_and_slopes(at), free, upper=config.upper, steps=bench.sizes.steps)
    ratios = descent.ratios @ member
    return {gene.name: float(ratio) for gene, ratio in zip(genes, ratios, strict=True)}, evaluations


def gene_truth(bench: Bench, start: float, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Change of the smooth fitness on held-out items when one gene alone leaves the uniform merge.

    Args:
        bench: the father has its own weights afterwards.
        start: the uniform merge's ratio, from which a gene goes ``STEP`` up.
        say: told how far it is.

    Returns:
        Gene -> change in each of ``BLOCKS`` blocks of items.
    """
    evaluator, indices = bench.open(), range(bench.sizes.truth)
    names = list(evaluator.space.tensors())
    uniform = dict.fromkeys(names, start)

    def smooth() -> np.ndarray:
        scores = np.array([score for _, score in grades(bench.graders["held_out"], indices)])  # (items,)
        return np.array([part.mean() for part in np.array_split(scores, BLOCKS)])

    evaluator.candidate.apply(uniform)
    base, changes = smooth(), {}
    for number, name in enumerate(names):
        evaluator.candidate.apply({**uniform, name: start + STEP})
        changes[name] = (smooth() - base).tolist()
        if number % 20 == 0:
            say(f"truth: {number + 1} of {len(names)} genes")
    bench.restore()
    return changes
