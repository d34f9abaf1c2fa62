"""Null children: what no search, or no mother, would have given. Each is a genome scored beside the child."""

from __future__ import annotations

import numpy as np

from darwin_mri.records import Prior


def null_genomes(prior: Prior, winner: dict[str, float], seed: int) -> dict[str, dict[str, float]]:
    """Named null genomes.

    Returns:
        ``uniform``: every gene at the winner's mean ratio; ``prior-mean``: the start, no search; ``random``: a random direction
        of the winner's norm (genes clipped to the box); ``shuffled-donor``: the winner's genes, to be applied to a mother
        whose tensors were shuffled. Father and mother themselves are scored as models.
    """
    names = list(winner)
    values = np.array([winner[name] for name in names])
    frozen = np.array([gene.frozen for gene in prior.genes])
    free = ~frozen
    uniform = np.where(free, values[free].mean() if free.any() else 0.0, 0.0)
    rng = np.random.default_rng([seed, 1])
    drawn = np.where(free, rng.random(len(names)), 0.0)
    norm = np.linalg.norm(drawn)
    drawn = np.clip(drawn * (np.linalg.norm(values) / norm if norm > 0 else 0.0), 0.0, prior.upper)

    def named(vector: np.ndarray) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names, vector, strict=True)}

    return {
        "uniform": named(uniform),
        "prior-mean": {gene.name: gene.mean for gene in prior.genes},
        "random": named(drawn),
        "shuffled-donor": dict(winner),
    }
