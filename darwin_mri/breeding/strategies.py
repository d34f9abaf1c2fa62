"""Where the next candidates come from: CMA-ES from the prior, or random ones to compare with.

All randomness comes from one numpy Generator handed to pycma (its ``seed`` 0 or None would mean the clock, and any seed
would touch numpy's global state). Candidates depend only on the seed and on the losses of earlier candidates.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from darwin_mri import seeds
from darwin_mri.breeding.spaces import Start

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pycma warns on import that its plots need matplotlib; the report draws its own
    import cma

GROWTH = 2  # of the population at every restart (IPOP-CMA-ES, Auger and Hansen 2005)


class Strategy(Protocol):
    """Draws candidates, generation by generation."""

    @property
    def sigma(self) -> float | None:
        """Step size, in units of the genes' own sigmas; None where there is none."""
        ...

    def ask(self) -> list[np.ndarray]:
        """Candidates inside the box, (genes,) each, frozen genes at their mean."""
        ...

    def tell(self, losses: Sequence[float]) -> None:
        """Take the candidates' losses, in the order of ``ask``; smaller is better."""
        ...


class CMA:
    """Genes in units of their own sigma (x = (gene - mean) / sigma), bounded; frozen ones are not in the vector.

    When a run has converged the next one starts from a random point of the box with a doubled population.

    Args:
        start: the box, and each gene's mean and sigma.
        best: the vector to start at, (genes,).
        population: candidates of a generation.
        seed: of the random numbers.
        noise: standard error of a fitness; a run whose values differ by less has converged (pycma's ``tolfun``).
    """

    def __init__(self, start: Start, best: np.ndarray, population: int, seed: int, noise: float = 0.0) -> None:
        self.start, self.population, self.noise = start, population, noise
        self.rng = seeds.named(seed, "cma")
        self.free = np.flatnonzero(~start.frozen)  # (free genes,)
        self.restarts = 0
        self._begin(best)

    def _begin(self, vector: np.ndarray) -> None:
        low, high = self.start.low[self.free], self.start.high[self.free]  # (free genes,) each, as all below
        mean, sigma = self.start.mean[self.free], self.start.sigma[self.free]
        options = {
            "bounds": [list((low - mean) / sigma), list((high - mean) / sigma)],
            "popsize": self.population,
            "seed": math.nan,
            "randn": lambda *shape: self.rng.standard_normal(shape),
            "verbose": -9,
            "verb_log": 0,
            "maxiter": math.inf,
            "tolfun": max(1e-11, 0.1 * self.noise),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycma warns about its own optional extras
            self.es = cma.CMAEvolutionStrategy((np.clip(vector[self.free], low, high) - mean) / sigma, 1.0, options)

    @property
    def sigma(self) -> float:
        """As ``Strategy``."""
        return float(self.es.sigma)

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``."""
        self._points = self.es.ask()  # (free genes,) each, in units of sigma
        return [self._vector(np.asarray(x)) for x in self._points]

    def tell(self, losses: Sequence[float]) -> None:
        """As ``Strategy``; a run that has converged begins anew."""
        self.es.tell(self._points, list(losses))
        if self.es.stop():
            self.restarts += 1
            self.population *= GROWTH
            self._begin(self.rng.uniform(self.start.low, self.start.high))

    def _vector(self, x: np.ndarray) -> np.ndarray:
        """The genes (genes,) of a point (free genes,) in units of sigma."""
        vector = self.start.mean.copy()
        moved = vector[self.free] + self.start.sigma[self.free] * x
        vector[self.free] = np.clip(moved, self.start.low[self.free], self.start.high[self.free])
        return vector


class Random:
    """Uniform in the box: what a search must beat.

    Args:
        start: the box; frozen genes stay at their mean.
        population: candidates of a generation.
        seed: of the random numbers.
    """

    sigma = None

    def __init__(self, start: Start, population: int, seed: int) -> None:
        self.start, self.population, self.rng = start, population, seeds.named(seed, "random search")

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``."""
        drawn = self.rng.uniform(self.start.low, self.start.high, (self.population, len(self.start.mean)))
        return [np.where(self.start.frozen, self.start.mean, vector) for vector in drawn]

    def tell(self, losses: Sequence[float]) -> None:
        """Losses change nothing."""
