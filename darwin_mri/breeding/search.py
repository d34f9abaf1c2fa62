"""CMA-ES by ask and tell, from a prior, within a budget of evaluations. The search never sees a model.

Genes are searched in units of their own prior sigma (x = (gene - mean) / sigma), bounded to the box; frozen genes are not in
the vector. All randomness comes from one numpy Generator handed to pycma (its ``seed`` 0 or None would mean the clock, and any
seed would touch numpy's global state). Candidates depend only on the seed and the fitness values told before, so a search is
resumed by replaying its ledger: no pickled state.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.breeding.ledger import Ledger
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine, Prior

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pycma warns on import that its plots need matplotlib; we draw our own
    import cma

OPENING = (1.0, 0.5, 0.25, 0.0)  # shares of the prior's mean tried first; 0 is the father himself
WORST = 1e6  # told to CMA-ES for a failed candidate: worse than any fitness in [0, 1]


@dataclass(frozen=True)
class Evaluation:
    """What evaluating one candidate gave; fitness in [0, 1], larger is better."""

    fitness: float
    scores: Mapping[str, float]
    items: int


Evaluate = Callable[[Mapping[str, float]], Evaluation]


@dataclass(frozen=True)
class SearchResult:
    """Distinct candidates, best first."""

    ranking: tuple[LedgerLine, ...]
    stopped: str  # "budget" or "converged" or "nothing to search"


def _strategy(
    prior: Prior, free: Sequence[int], start: np.ndarray, population: int, seed: int
) -> cma.CMAEvolutionStrategy:
    mean = np.array([prior.genes[g].mean for g in free])
    sigma = np.array([prior.genes[g].sigma for g in free])
    rng = np.random.default_rng(seed)
    options = {
        "bounds": [list(-mean / sigma), list((prior.upper - mean) / sigma)],
        "popsize": population,
        "seed": math.nan,
        "randn": lambda *shape: rng.standard_normal(shape),
        "verbose": -9,
        "verb_log": 0,
        "maxiter": math.inf,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pycma warns about its own optional extras
        return cma.CMAEvolutionStrategy((start[list(free)] - mean) / sigma, 1.0, options)


def search(
    prior: Prior,
    evaluate: Evaluate,
    ledger: Ledger,
    *,
    budget: int,
    population: int,
    seed: int,
    on_line: Callable[[LedgerLine], None] = lambda _: None,
) -> SearchResult:
    """Spend ``budget`` evaluations; lines already in the ledger are replayed, not re-run.

    Generation 0 walks from the prior's mean back to the father (shares ``OPENING`` of the mean): slopes know a path's ends,
    not the dip between two far-apart parents. CMA-ES starts from the best of these.

    Raises:
        DarwinError: the ledger belongs to another search, or no candidate could be evaluated.
    """
    names = [gene.name for gene in prior.genes]
    free = [g for g, gene in enumerate(prior.genes) if not gene.frozen]
    start = np.array([gene.mean for gene in prior.genes])
    queue = list(ledger.lines)

    def run(vector: np.ndarray, generation: int, candidate: int, sigma: float | None) -> LedgerLine:
        genes = {name: float(value) for name, value in zip(names, vector, strict=True)}
        if queue:
            line = queue.pop(0)
            if line.genes != genes or (line.generation, line.candidate) != (generation, candidate):
                raise DarwinError(
                    f"{ledger.path.name} line {line.evaluation} does not belong to this search (other config, seed or parents): "
                    "resume with the config the run was started with, or start a new run"
                )
        else:
            line = _evaluate(evaluate, genes, len(ledger.lines), generation, candidate, sigma)
            ledger.append(line)
        on_line(line)
        return line

    shares = OPENING if free else OPENING[:1]
    lines = [run(share * start, 0, number, None) for number, share in enumerate(shares[:budget])]
    stopped = "budget" if free else "nothing to search"
    if free and len(lines) < budget:
        opening = max(lines, key=lambda line: -math.inf if line.fitness is None else line.fitness)
        strategy = _strategy(prior, free, np.array(list(opening.genes.values())), population, seed)
        scale = np.array([prior.genes[g].sigma for g in free])
        generation = 0
        while len(lines) < budget:
            generation += 1
            asked = strategy.ask()
            told = []
            for candidate, x in enumerate(asked):
                if len(lines) >= budget:
                    break
                vector = start.copy()
                vector[free] = np.clip(start[free] + scale * np.asarray(x), 0.0, prior.upper)
                line = run(vector, generation, candidate, float(strategy.sigma))
                told.append(WORST if line.fitness is None else -line.fitness)
                lines.append(line)
            if len(told) < len(asked):
                break  # an unfinished generation cannot be told
            strategy.tell(asked, told)
            if strategy.stop():
                stopped = "converged"
                break
    scored = [line for line in lines if line.fitness is not None]
    if not scored:
        raise DarwinError(f"every candidate failed; the first reason: {lines[0].reason}. See {ledger.path.name}")
    distinct = {tuple(line.genes.values()): line for line in reversed(scored)}
    ranking = sorted(distinct.values(), key=lambda line: (-(line.fitness or 0.0), line.evaluation))
    return SearchResult(tuple(ranking), stopped)


def _evaluate(
    evaluate: Evaluate, genes: dict[str, float], number: int, generation: int, candidate: int, sigma: float | None
) -> LedgerLine:
    began = time.monotonic()
    fitness, scores, items, status, reason = None, {}, 0, "ok", ""
    try:
        result = evaluate(genes)
        items = result.items
        if math.isfinite(result.fitness):
            fitness, scores = float(result.fitness), {k: float(v) for k, v in result.scores.items()}
        else:
            status, reason = "failed", "fitness is not finite"
    except (
        ArithmeticError,
        RuntimeError,
        ValueError,
        MemoryError,
    ) as error:  # torch raises RuntimeError when memory runs out
        status, reason = (
            "failed",
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}",
        )
    return LedgerLine(
        evaluation=number, generation=generation, candidate=candidate, genes=genes, fitness=fitness, scores=scores,
        items=items, seconds=round(time.monotonic() - began, 4), status=status, reason=reason, sigma=sigma,
    )  # fmt: skip
