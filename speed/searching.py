"""Search from the ``response`` prior against a flat start: evaluations to the same fitness, on the nursery, median over seeds.

Per seed the flat start spends its budget; the fitness it ends with is the mark, and both are asked at which evaluation they first reached it.
A search from the prior that never does counts as its whole budget.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from darwin_mri.benchmarks import Scorer, load_benchmark, sample_items, split_items
from darwin_mri.breeding import Ledger, search
from darwin_mri.checkpoints import find_model
from darwin_mri.config import Config, make_config
from darwin_mri.merging import Candidate
from darwin_mri.mri.prior import make_prior
from darwin_mri.records import Prior
from darwin_mri.stages.items import Fitness, fitness_blocks
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.parents import load
from darwin_mri.stages.priors import measure_slopes
from darwin_mri.stages.run import Silent
from speed.measure import row

SEEDS = 10
GOAL = 0.2
SETTINGS: dict[str, Any] = {
    "father": "nursery:gemma4-korean", "mother": "nursery:gemma4-reasoning", "base": "nursery:gemma4-base", "method": "task_arithmetic",
    "search": {"space": "layers", "budget": 30, "population": 8, "items": 12}, "prior": {"items": 40, "protect": []},
}  # fmt: skip


def search_row() -> dict[str, Any]:
    """Median over seeds of (evaluations from the prior) / (evaluations from the flat start)."""
    config = make_config(SETTINGS, "speed")
    father = load(find_model(config.father), "", device="cpu", dtype="float32")
    breed = breed_siblings(config, father, find_model(config.mother), find_model(config.base or ""))
    items = {name: split_items(load_benchmark(name, None), 1).search for name in config.weights}
    chosen = {name: sample_items(found, config.prior.items, 1) for name, found in items.items()}
    blocks = fitness_blocks(father.model, father.tokenizer, chosen, config.weights, log=True)
    slopes, _ = measure_slopes(father, breed, {"fitness": blocks}, config.reference_ratio, 200, 1, Silent())
    priors = {
        name: _prior(config, breed, father, name, slopes if name == "response" else {}) for name in ("flat", "response")
    }
    scorer = Scorer(father.model, father.tokenizer, beyond_context=True)
    fitness = Fitness(Candidate(father.model, breed.tensors(), breed.merge), scorer, {
        name: sample_items(found, config.search.items, 1) for name, found in items.items()
    }, config)  # fmt: skip
    ratios, counts = [], []
    for seed in range(1, SEEDS + 1):
        courses = {name: _course(prior, fitness, config, seed) for name, prior in priors.items()}
        mark = max(courses["flat"])
        reached = {name: _first(course, mark - 1e-9) for name, course in courses.items()}
        ratios.append(reached["response"] / reached["flat"])
        counts.append(reached)
    detail = (
        f"median {statistics.median(c['response'] for c in counts):g} / {statistics.median(c['flat'] for c in counts):g} evaluations, "
        f"ratios {min(ratios):.2f} to {max(ratios):.2f} over {SEEDS} seeds, budget {config.search.budget}"
    )
    return row(
        "search from the prior", "flat start, evaluations to the same fitness", statistics.median(ratios), GOAL, lower=True, detail=detail
    )  # fmt: skip


def _prior(config: Config, breed: Any, father: Any, preset: str, slopes: Any) -> Prior:
    settings = config.prior.model_copy(update={"preset": preset})
    layers = tuple(range(len(father.anatomy.layers)))
    return make_prior(
        breed.space.layers(), layers, settings, upper=config.upper, reference=config.reference_ratio,
        fitness=slopes.get("fitness"), protected={}, resamples=200, seed=1, ratios=None,
    )  # fmt: skip


def _course(prior: Prior, fitness: Fitness, config: Config, seed: int) -> list[float]:
    """Fitness of each evaluation in turn."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl")
        search(prior, fitness, ledger, budget=config.search.budget, population=config.search.population, seed=seed)
        return [line.fitness if line.fitness is not None else float("-inf") for line in ledger.lines]


def _first(course: list[float], mark: float) -> int:
    """Number of the first evaluation that reached the mark, counted from 1; the length of the course where none did."""
    return next((number for number, value in enumerate(course, 1) if value >= mark), len(course))
