"""Where the next candidates come from: CMA-ES from the prior, or random ones to compare with.

All randomness comes from one numpy Generator handed to pycma (its ``seed`` 0 or None would mean the clock, and any seed would
touch numpy's global state). Candidates depend only on the seed and on what was told before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from darwin_mri.breeding.spaces import Start

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pycma warns on import that its plots need matplotlib; we draw our own
    import cma

GROWTH = 2  # of the population at every restart (IPOP-CMA-ES, Auger and Hansen 2005)


class Strategy(Protocol):
    sigma: float | None

    def ask(self) -> list[np.ndarray]:
        """Candidates inside the box, (genes,) each, frozen genes at their mean."""
        ...

    def tell(self, losses: Sequence[float]) -> None:
        """Their losses, in the order asked."""
        ...


class CMA:
    """Genes in units of their own sigma (x = (gene - mean) / sigma), bounded; frozen ones are not in the vector.

    When a run has converged the next one starts from a random point of the box with a doubled population.

    Args:
        best: the vector to start at.
        noise: standard error of a fitness; a run whose values differ by less has converged (pycma's ``tolfun``).
    """

    def __init__(self, start: Start, best: np.ndarray, population: int, seed: int, noise: float = 0.0) -> None:
        self.start, self.population, self.noise = start, population, noise
        self.rng = np.random.default_rng(seed)
        self.free = np.flatnonzero(~start.frozen)
        self.restarts = 0
        self._begin(best)

    def _begin(self, vector: np.ndarray) -> None:
        low, high = self.start.low[self.free], self.start.high[self.free]
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
        return float(self.es.sigma)

    def ask(self) -> list[np.ndarray]:
        self.asked = self.es.ask()
        return [self._vector(np.asarray(x)) for x in self.asked]

    def tell(self, losses: Sequence[float]) -> None:
        self.es.tell(self.asked, list(losses))
        if self.es.stop():
            self.restarts += 1
            self.population *= GROWTH
            self._begin(self.rng.uniform(self.start.low, self.start.high))

    def _vector(self, x: np.ndarray) -> np.ndarray:
        vector = self.start.mean.copy()
        moved = vector[self.free] + self.start.sigma[self.free] * x
        vector[self.free] = np.clip(moved, self.start.low[self.free], self.start.high[self.free])
        return vector


class Random:
    """Uniform in the box: what a search must beat."""

    sigma = None

    def __init__(self, start: Start, population: int, seed: int) -> None:
        self.start, self.population, self.rng = start, population, np.random.default_rng(seed)

    def ask(self) -> list[np.ndarray]:
        drawn = self.rng.uniform(self.start.low, self.start.high, (self.population, len(self.start.mean)))
        return [np.where(self.start.frozen, self.start.mean, vector) for vector in drawn]

    def tell(self, losses: Sequence[float]) -> None:
        pass
