"""Where the next candidates come from: CMA-ES from the prior, or random ones to compare with.

All randomness comes from one numpy Generator handed to pycma (its ``seed`` 0 or None would mean the clock, and any seed
would touch numpy's global state). Candidates depend only on the seed and on what was told of earlier candidates.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from darwin_mri import seeds
from darwin_mri.breeding.ranking import loss
from darwin_mri.breeding.spaces import Start
from darwin_mri.records import LedgerLine

Told = tuple[np.ndarray, LedgerLine]
"""A candidate that was asked for, (genes,), and what became of it."""
GROWTH = 2  # of the population at every restart (IPOP-CMA-ES, Auger and Hansen 2005)


class Strategy(Protocol):
    """Draws candidates, and learns from them a population at a time."""

    @property
    def sigma(self) -> float | None:
        """Step size, in units of the genes' own sigmas; None where there is none."""
        ...

    @property
    def population(self) -> int:
        """How many candidates are drawn, and told, at a time."""
        ...

    @property
    def restarts(self) -> int:
        """How often it has begun anew: candidates drawn before that are not told any more."""
        ...

    def ask(self) -> list[np.ndarray]:
        """A population of candidates inside the box, (genes,) each, frozen genes at their mean."""
        ...

    def tell(self, told: Sequence[Told]) -> None:
        """Learn from a population of candidates.

        Args:
            told: vector, (genes,), and line of each. In an asynchronous search some were drawn before earlier ones
                were told, or from elsewhere; after each ``tell`` there is an ``ask`` before the next one.
        """
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
        # What was drawn and not told: bytes of the vector -> pycma's points and the iterations they were drawn in.
        self._asked: dict[bytes, deque[tuple[np.ndarray, int]]] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycma warns that its plots need matplotlib; the report draws its own
            import cma  # not before a search begins: where matplotlib is installed, pycma loads it, which takes seconds

            self.es = cma.CMAEvolutionStrategy((np.clip(vector[self.free], low, high) - mean) / sigma, 1.0, options)

    @property
    def sigma(self) -> float:
        """As ``Strategy``."""
        return float(self.es.sigma)

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``."""
        vectors: list[np.ndarray] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in ``tell``
            drawn = self.es.ask()
        for x in drawn:  # (free genes,), in units of sigma
            vector = self._vector(np.asarray(x))
            self._asked.setdefault(vector.tobytes(), deque()).append((x, self.es.countiter))
            vectors.append(vector)
        return vectors

    def tell(self, told: Sequence[Told]) -> None:
        """As ``Strategy``; a run that has converged begins anew."""
        points: list[np.ndarray] = []
        older: list[int] = []  # places of points that the present distribution did not draw
        for place, (vector, _) in enumerate(told):
            key = vector.tobytes()
            asked = self._asked.get(key)
            x, drawn = asked.popleft() if asked else (self._point(vector), -1)
            if asked is not None and not asked:
                del self._asked[key]
            points.append(x)
            if drawn < self.es.countiter:
                older.append(place)
        # pycma shortens steps of these that the present distribution would hardly make (Hansen 2011, injection).
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pycma warns of points that it drew and is not told of: others came first
            self.es.tell(points, [loss(line) for _, line in told], check_points=older or None)
        if self.es.stop():
            self.restarts += 1
            self.population *= GROWTH
            self._begin(self.rng.uniform(self.start.low, self.start.high))

    def _point(self, vector: np.ndarray) -> np.ndarray:
        """The point (free genes,) in units of sigma of genes (genes,)."""
        return (vector[self.free] - self.start.mean[self.free]) / self.start.sigma[self.free]

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
        stream: names the random numbers: another one gives other candidates.
    """

    sigma: float | None = None
    restarts = 0

    def __init__(self, start: Start, population: int, seed: int, stream: str = "random search") -> None:
        self.start, self.population, self.rng = start, population, seeds.named(seed, stream)

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``."""
        shape = self.population, len(self.start.mean)
        return [np.where(self.start.frozen, self.start.mean, vector) for vector in self._draw(shape)]

    def _draw(self, shape: tuple[int, int]) -> np.ndarray:
        return self.rng.uniform(self.start.low, self.start.high, shape)

    def tell(self, told: Sequence[Told]) -> None:
        """Results change nothing."""


class AroundPrior(Random):
    """Normal around the prior's mean with its sigmas, as CMA-ES begins there; arguments as ``Random``."""

    sigma = 1.0

    def _draw(self, shape: tuple[int, int]) -> np.ndarray:
        return np.clip(self.rng.normal(self.start.mean, self.start.sigma, shape), self.start.low, self.start.high)
