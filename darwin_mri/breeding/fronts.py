"""Strategies for several objectives: NSGA-II by pymoo, and MO-CMA-ES by DEAP (docs/decisions/0022).

Both begin with the opening and a generation drawn from the prior, and rank by constrained domination (Deb 2000): what
keeps the limits is better than what breaks one, of two that break some the lesser violation is better. All randomness
comes from one named generator; candidates depend only on the seed and on what was told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from deap import base, cma
from pymoo.algorithms.moo.nsga2 import NSGA2 as PymooNSGA2
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination
from pymoo.indicators.hv import HV

from darwin_mri import seeds
from darwin_mri.breeding.ranking import FAILED
from darwin_mri.breeding.spaces import Start
from darwin_mri.breeding.strategies import Strategy, Told
from darwin_mri.records import LedgerLine


def front_strategy(
    name: str, start: Start, opening: Sequence[Told], objectives: Sequence[str], population: int, seed: int
) -> Strategy:
    """A strategy for several objectives.

    Args:
        name: ``nsga2`` or ``mo-cma``.
        start: the box, and each gene's mean and sigma.
        opening: what the search began with.
        objectives: tasks whose scores are to be high.
        population: candidates of a generation, and those that the strategy keeps.
        seed: of the random numbers.

    Returns:
        The strategy.
    """
    kind = NSGA2 if name == "nsga2" else MOCMA
    return kind(start, opening, tuple(objectives), population, seed)


def dominated(points: np.ndarray) -> float:
    """The hypervolume above 0 in every objective (Zitzler and Thiele 1999), of points (candidates, objectives)."""
    return float(HV(ref_point=np.zeros(points.shape[1]))(-points) or 0.0)


class _FrontStrategy:
    """What both have in common: the free genes, the first generation, and what a ledger line says.

    Args:
        start: the box, and each gene's mean and sigma.
        opening: told to the strategy with the first generation.
        objectives: tasks whose scores are to be high.
        population: candidates of a generation.
        rng: of every draw.
    """

    restarts = 0

    def __init__(
        self,
        start: Start,
        opening: Sequence[Told],
        objectives: tuple[str, ...],
        population: int,
        rng: np.random.Generator,
    ) -> None:
        self.start, self.opening, self.objectives = start, list(opening), objectives
        self.population, self.rng = population, rng
        self.free = np.flatnonzero(~start.frozen)  # (free genes,), as all below
        self.low, self.high = start.low[self.free], start.high[self.free]
        self.mean, self.spread = start.mean[self.free], start.sigma[self.free]

    def _drawn(self, count: int) -> list[np.ndarray]:
        """Candidates drawn from the prior, (genes,) each."""
        normal = self.rng.standard_normal((count, len(self.free)))  # (candidates, free genes)
        return [self._vector(self.mean + self.spread * z) for z in normal]

    def _vector(self, free: np.ndarray) -> np.ndarray:
        """The genes (genes,) of free ones (free genes,), inside the box; frozen ones at their mean."""
        vector = self.start.mean.copy()
        vector[self.free] = np.clip(free, self.low, self.high)
        return vector

    def _scores(self, line: LedgerLine) -> list[float]:
        """The objectives, higher is better; zeros for a failed candidate, which its violation ranks last."""
        return [line.scores.get(name, 0.0) for name in self.objectives]


def _violation(line: LedgerLine) -> float:
    return FAILED if line.fitness is None else line.violation


class NSGA2(_FrontStrategy):
    """NSGA-II (Deb et al. 2002) with pymoo's operators: simulated binary crossover and polynomial mutation.

    Arguments as ``front_strategy``.
    """

    sigma = None

    def __init__(
        self, start: Start, opening: Sequence[Told], objectives: tuple[str, ...], population: int, seed: int
    ) -> None:
        super().__init__(start, opening, objectives, population, seeds.named(seed, "nsga2"))
        problem = Problem(len(self.free), len(objectives), 1, xl=self.low, xu=self.high)
        self.algorithm = PymooNSGA2(pop_size=population)
        self.algorithm.setup(problem, termination=NoTermination(), seed=0)  # a seed of None would be the clock
        self.algorithm.random_state = self.rng

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``; drawn from the prior where mating finds nothing new."""
        if not self.algorithm.is_initialized:
            return self._drawn(self.population)
        offspring = self.algorithm.ask()
        genes = [] if offspring is None else list(offspring.get("X"))
        return [*map(self._vector, genes), *self._drawn(self.population - len(genes))]

    def tell(self, told: Sequence[Told]) -> None:
        """As ``Strategy``."""
        told, self.opening = [*self.opening, *told], []
        candidates = Population.new(
            X=np.array([vector[self.free] for vector, _ in told]),  # (candidates, free genes)
            F=-np.array([self._scores(line) for _, line in told]),  # (candidates, objectives), to be low
            G=np.array([[_violation(line)] for _, line in told]),  # (candidates, 1), above 0 breaks a limit
        )
        self.algorithm.tell(infills=candidates)


class _Point(list[float]):
    """A candidate as DEAP wants it: free genes in units of their sigmas, with a fitness and its parent's index."""

    def __init__(self, values: np.ndarray, line: LedgerLine, objectives: int) -> None:
        super().__init__(map(float, values))
        self.line = line
        self.fitness: Any = _fitness_type(objectives)()
        self._ps: tuple[str, int] = ("o", 0)


@cache
def _fitness_type(objectives: int) -> type:
    """DEAP keeps the objectives' weights in the class: 1 is higher is better."""
    return type("Fitness", (base.Fitness,), {"weights": (1.0,) * objectives})


class MOCMA(_FrontStrategy):
    """MO-CMA-ES (Igel, Hansen, Roth 2007; Voss, Hansen, Igel 2010) by DEAP: a population of (1+1) strategies.

    Each parent has a step size and covariance of its own and gives one offspring; parents and offspring together are
    selected by domination, then by their share of the hypervolume. Genes count in units of their own sigmas. The first
    step is 1.22 / sqrt(free genes): the best one of a (1+1) strategy on a sphere as wide as the prior (Beyer 2001).
    What falls outside of the box is moved to its edge. DEAP's own ``generate`` draws from numpy's global state and is
    not used. Arguments as ``front_strategy``.
    """

    def __init__(
        self, start: Start, opening: Sequence[Told], objectives: tuple[str, ...], population: int, seed: int
    ) -> None:
        super().__init__(start, opening, objectives, population, seeds.named(seed, "mo-cma"))
        self.step = 1.22 / math.sqrt(len(self.free))
        self.strategy: Any = None  # DEAP has no types
        self.origins: dict[bytes, _Point] = {}  # an offspring's genes -> its parent

    @property
    def sigma(self) -> float:
        """As ``Strategy``: the median step size of the parents."""
        return self.step if self.strategy is None else float(np.median(self.strategy.sigmas))

    def ask(self) -> list[np.ndarray]:
        """As ``Strategy``."""
        state = self.strategy
        if state is None:
            return self._drawn(self.population)
        vectors = []
        for number in range(self.population):
            index = number % len(state.parents)
            parent, factor = state.parents[index], state.sigmas[index] * state.A[index]
            point = np.array(parent) + factor @ self.rng.standard_normal(len(self.free))  # (free genes,)
            vectors.append(self._vector(self.mean + self.spread * point))
            self.origins[vectors[-1].tobytes()] = parent
        return vectors

    def tell(self, told: Sequence[Told]) -> None:
        """As ``Strategy``."""
        if self.strategy is None:
            told, self.opening = [*self.opening, *told], []
            points = [self._point(vector, line) for vector, line in told]
            self.strategy = cma.StrategyMultiObjective(points, self.step, mu=self.population)
            self._grade(points)
            self.strategy.update([])  # selects among the first ones
        else:
            points = [self._point(vector, line) for vector, line in told]
            for (vector, _), point in zip(told, points, strict=True):
                point._ps = ("o", self._parent_of(vector, point))
            self._grade([*points, *self.strategy.parents])
            self.strategy.update(points)
        self._number_parents()

    def _point(self, vector: np.ndarray, line: LedgerLine) -> _Point:
        return _Point((vector[self.free] - self.mean) / self.spread, line, len(self.objectives))

    def _number_parents(self) -> None:
        for index, parent in enumerate(self.strategy.parents):
            parent._ps = ("p", index)

    def _parent_of(self, vector: np.ndarray, point: _Point) -> int:
        """Index of the parent an offspring was drawn from; of the nearest one where that parent is gone."""
        parents, origin = self.strategy.parents, self.origins.pop(vector.tobytes(), None)
        for index, parent in enumerate(parents):
            if parent is origin:
                return index
        return int(np.argmin([np.linalg.norm(np.subtract(parent, point)) for parent in parents]))

    def _grade(self, points: Sequence[_Point]) -> None:
        """Give every point a fitness whose domination is the constrained one.

        Objectives of what keeps the limits are scaled to [0, 1] over these points, so that the hypervolume does not
        hang on their units; what breaks a limit lies below 0 in all of them, the lower the larger its violation.
        """
        scores = np.array([self._scores(point.line) for point in points])  # (points, objectives)
        broken = np.array([_violation(point.line) for point in points])  # (points,)
        kept = scores[broken <= 0] if (broken <= 0).any() else scores
        low, high = kept.min(axis=0), kept.max(axis=0)
        scaled = (scores - low) / np.where(high > low, high - low, 1.0)
        levels = np.unique(broken[broken > 0])
        for point, own, violation in zip(points, scaled, broken, strict=True):
            rank = (np.searchsorted(levels, violation) + 1) / max(1, len(levels))
            point.fitness.values = tuple(own) if violation <= 0 else (-float(rank),) * len(own)
