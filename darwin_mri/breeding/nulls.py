"""Null genomes: what a child would be without a search, without a prior, or without a mother worth having."""

from __future__ import annotations

import numpy as np

from darwin_mri.breeding.darwin import SearchSpace
from darwin_mri.breeding.spaces import Start


def null_genomes(space: SearchSpace, start: Start, winner: dict[str, float], seed: int) -> dict[str, dict[str, float]]:
    """Named null genomes.

    Returns:
        ``uniform``: one ratio everywhere, the winner's mean; ``prior-mean``: the start, no search; ``random``: a random direction
        of the winner's norm (genes clipped to the box); ``shuffled-donor``: the winner's genes, to be applied to a mother
        whose tensors were shuffled. Father and mother themselves are scored as models.
    """
    values = np.array([winner[name] for name in start.names])
    rng = np.random.default_rng([seed, 1])
    drawn = np.where(start.frozen, 0.0, rng.random(len(values)))
    norm = np.linalg.norm(drawn)
    drawn = drawn * (np.linalg.norm(values) / norm if norm > 0 else 0.0)
    drawn = np.where(start.frozen, start.mean, np.clip(drawn, start.low, start.high))
    return {
        "uniform": space.uniform(start, winner),
        "prior-mean": dict(zip(start.names, map(float, start.mean), strict=True)),
        "random": dict(zip(start.names, map(float, drawn), strict=True)),
        "shuffled-donor": dict(winner),
    }
