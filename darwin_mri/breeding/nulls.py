"""Null genomes: what a child would be without a search, or without a prior."""

from __future__ import annotations

import numpy as np

from darwin_mri import seeds
from darwin_mri.breeding.darwin import SearchSpace
from darwin_mri.breeding.spaces import Space, Start


def null_genomes(space: SearchSpace, start: Start, winner: dict[str, float], seed: int) -> dict[str, dict[str, float]]:
    """Named null genomes. The parents themselves are scored as models and are not among them.

    Args:
        space: that the winner was searched in.
        start: the search's start, for its box and frozen genes.
        winner: gene -> value of the search's winner.
        seed: of the random genome.

    Returns:
        Null -> genes. ``uniform``: one ratio everywhere, the winner's mean. ``per-parent``, with several other parents:
        one ratio for each, the mean of the winner's. ``prior-mean``: the start, no search.
        ``random``: a random direction of the winner's norm (genes clipped to the box).
    """
    values = np.array([winner[name] for name in start.names])  # (genes,)
    rng = seeds.named(seed, "null genomes")
    drawn = np.where(start.frozen, 0.0, rng.random(len(values)))  # (genes,)
    norm = np.linalg.norm(drawn)
    drawn = drawn * (np.linalg.norm(values) / norm if norm > 0 else 0.0)
    drawn = np.where(start.frozen, start.mean, np.clip(drawn, start.low, start.high))
    own = {"per-parent": space.per_parent(start, winner)} if isinstance(space, Space) and space.several else {}
    return {
        "uniform": space.uniform(start, winner),
        **own,
        "prior-mean": dict(zip(start.names, map(float, start.mean), strict=True)),
        "random": dict(zip(start.names, map(float, drawn), strict=True)),
    }
