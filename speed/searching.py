"""Cost of a search on the nursery's siblings: the response prior against a flat start, anchors against all items.

    python -m speed.searching prior --seeds 10 --out reports/prior.json
    python -m speed.searching cheap --seeds 10 --budget 120 --pool 200 --out reports/cheap.json

A seed draws items, splits and candidates. ``prior``: a flat start spends its whole budget, and the candidates are
counted that the response prior needs to reach the same fitness; a gradient over an item counts as three evaluations.
``cheap``: item evaluations with racing and anchors at the same budget, and what the held-out fitness loses.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from darwin_mri.breeding import InProcess, Ledger, Means, SearchOptions, SearchResult, search
from darwin_mri.config import Config, load_config
from darwin_mri.problem.anchors import anchor
from darwin_mri.problem.fitness import Evaluator, weighted
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Prior
from darwin_mri.run import open_run
from darwin_mri.stages.prior import measure_prior
from darwin_mri.stages.references import measure_references
from darwin_mri.stages.scan import scan_parents
from speed.measure import make_row

CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"
GRADIENT = 3  # forwards that one gradient costs


@dataclass(frozen=True)
class SearchCurve:
    """One search.

    Attributes:
        curve: best fitness so far, after each candidate.
        items: item evaluations, after each candidate.
        held_out: the winner's held-out fitness.
        before: item evaluations spent before the search began, on gradients and on choosing anchors.
    """

    curve: list[float]
    items: list[int]
    held_out: float
    before: int


class Bench:
    """Searches over the nursery's siblings, which are scanned once.

    Args:
        budget: candidates of each search.
        folder: of the runs.
    """

    def __init__(self, budget: int, folder: Path) -> None:
        self.budget, self.folder = budget, folder
        config = self.config(1, "flat")
        self.scans = scan_parents(open_run(folder / "scan", config, (), "cpu"), self.find_parents(config))

    def config(self, seed: int, preset: str, **search_changes: Any) -> Config:
        """The config of one search: no racing and no anchors, unless ``search_changes`` ask for them."""
        changes = {"budget": self.budget, "racing": False, "blocks": 1, **search_changes}
        return load_config(CONFIG, {"seed": seed, "prior": {"preset": preset, "protect": ()}, "search": changes})

    @staticmethod
    def find_parents(config: Config) -> Parents:
        """The siblings; each is loaded where it is first needed."""
        return Parents.find(config, device="cpu", offline=True)

    def run(self, seed: int, preset: str, name: str, **search_changes: Any) -> SearchCurve:
        """Search once.

        Args:
            seed: of items, splits and candidates.
            preset: of the prior.
            name: of the run's folder.
            **search_changes: fields of the config's section ``search``.

        Returns:
            What the search reached and what it cost.
        """
        config = self.config(seed, preset, **search_changes)
        run, parents = open_run(self.folder / f"{name}-{seed}", config, (), "cpu"), self.find_parents(config)
        space = sibling_space(config, parents.father, parents.other_sources, parents.base)
        prior, _ = measure_prior(run, parents, space, self.scans)
        items, before = parents.items, gradient_cost(prior, parents.items, config)
        evaluator, start = Evaluator(config, parents.father, space), space.genome.start(prior)
        asked, estimate = items.search, Means(config.search.blocks, config.weights)
        if config.search.anchors:
            anchored = anchor(run, evaluator, start, items.search, measure_references(run, parents), {})
            asked, estimate, before = anchored.items, anchored.estimate, before + anchored.spent
        options = SearchOptions(
            budget=self.budget, population=config.search.population, seed=seed, racing=config.search.racing
        )
        ledger = Ledger(run.path("ledger.jsonl"))
        workers = InProcess(evaluator.on(asked, blocks=config.search.blocks))
        result = search(start, workers, estimate, ledger, options)
        held_out = held_out_fitness(evaluator, result, items, config)
        lines = list(ledger.lines)
        values = [line.fitness if line.status == "ok" and line.fitness is not None else 0.0 for line in lines]
        spent = np.cumsum([line.items for line in lines]).tolist()
        return SearchCurve(np.maximum.accumulate(values).tolist(), spent, held_out, before)


def gradient_cost(prior: Prior, items: Items, config: Config) -> int:
    """What the gradients of a response prior cost, in item evaluations; 0 for every other preset."""
    if prior.preset != "response":
        return 0
    size = sum(min(config.prior.items, len(part)) for part in items.search.values())
    steps = prior.note.partition("; ")[2].partition(" steps")[0]
    return GRADIENT * size * (2 + (int(steps) if steps.isdigit() else 0))


def held_out_fitness(evaluator: Evaluator, result: SearchResult, items: Items, config: Config) -> float:
    """Fitness of the best candidate on held-out items."""
    held_out = {name: items.held_out[name] for name in config.weights}
    return weighted(evaluator.on(held_out)(result.ranking[0].genes), config.weights)


def candidates_to_reach(target: float, curve: SearchCurve) -> int | None:
    """Candidates until the target was reached; None where it never was."""
    return next((number + 1 for number, value in enumerate(curve.curve) if value >= target), None)


def compare_seeds(
    seeds: int, budget: int, out: Path | None, compare: Callable[[Bench, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Compare two searches at every seed.

    Args:
        seeds: how many, from 1.
        budget: candidates of each search.
        out: JSON file of the records, written after each; none when None.
        compare: both searches at one seed; ``said`` in its record is printed.

    Returns:
        One record per seed.
    """
    records = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(budget, Path(folder))
        for seed in range(1, seeds + 1):
            records.append({"seed": seed, "budget": budget, **compare(bench, seed)})
            print(f"seed {seed}: {records[-1]['said']}", file=sys.stderr, flush=True)
            if out:
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return records


def prior_row(seeds: int = 3, budget: int = 40, out: Path | None = None) -> dict[str, Any]:
    """Candidates that the response prior needs to reach what a flat start ends with, as a share of the budget.

    Args:
        seeds: how many; the row gives their median.
        budget: candidates of each search.
        out: JSON file of one record per seed.

    Returns:
        The row.
    """

    def compare(bench: Bench, seed: int) -> dict[str, Any]:
        flat = bench.run(seed, "flat", "flat")
        response = bench.run(seed, "response", "response")
        count = candidates_to_reach(flat.curve[-1], response) or budget
        return {
            "flat": flat.curve,
            "response": response.curve,
            "needed": count,
            "with_gradients": count + response.before / flat.items[0],
            "held_out": {"flat": flat.held_out, "response": response.held_out},
            "said": f"{count} of {budget} evaluations",
        }

    records = compare_seeds(seeds, budget, out, compare)
    ratios = [record["needed"] / budget for record in records]
    with_gradients = median(record["with_gradients"] / budget for record in records)
    return make_row(
        "search from the prior",
        "flat start's whole budget, to its fitness",
        median(ratios),
        0.2,
        lower=True,
        detail=f"{min(ratios):.2f} to {max(ratios):.2f} over {seeds} seeds, budget {budget};"
        f" {with_gradients:.2f} with the gradients' cost",
    )


def cheap_row(
    seeds: int = 3,
    budget: int = 40,
    anchors: int = 12,
    pool: int = 200,
    preset: str = "response",
    out: Path | None = None,
) -> dict[str, Any]:
    """Item evaluations with racing and anchors, against every candidate scored on the whole pool from the same start.

    Args:
        seeds: how many; the row gives their median.
        budget: candidates of each search.
        anchors: items per benchmark that a candidate is scored on.
        pool: items per benchmark that they stand for.
        preset: of the prior, where both searches start.
        out: JSON file of one record per seed.

    Returns:
        The row.
    """

    def compare(bench: Bench, seed: int) -> dict[str, Any]:
        whole = bench.run(seed, preset, "whole", items=pool)
        cheap = bench.run(seed, preset, "cheap", items=pool, racing=True, blocks=3, anchors=anchors)
        # The prior's gradients are the same on both sides; ``whole.before`` is nothing else.
        items = {
            "whole": whole.items[-1],
            "cheap": cheap.items[-1] + cheap.before - whole.before,
            "gradients": whole.before,
        }
        gap = cheap.held_out - whole.held_out
        return {
            "items": items,
            "held_out": {"whole": whole.held_out, "cheap": cheap.held_out},
            "gap": gap,
            "said": f"{items['cheap']} of {items['whole']} item evaluations, held-out fitness {gap:+.4f}",
        }

    records = compare_seeds(seeds, budget, out, compare)
    gaps = [record["gap"] for record in records]
    sums = [{key: r["items"][key] + r["items"]["gradients"] for key in ("cheap", "whole")} for r in records]
    with_gradients = median(s["cheap"] / s["whole"] for s in sums)
    error = np.std(gaps, ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    return make_row(
        "racing and anchors",
        "the whole pool for every candidate, same budget",
        median(record["items"]["cheap"] / record["items"]["whole"] for record in records),
        0.1,
        lower=True,
        detail=f"item evaluations, logging included, pool of {pool} per benchmark, {anchors} anchors, {preset} start,"
        f" budget {budget}, {seeds} seeds; held-out fitness {np.mean(gaps):+.4f} +- {error:.4f};"
        f" with the prior's gradients on both sides {with_gradients:.3f}",
    )


def search_rows() -> list[dict[str, Any]]:
    """Both rows of the speed table, on three seeds."""
    return [prior_row(), cheap_row()]


def main() -> None:
    """Measure one of the rows and print it."""
    parser = argparse.ArgumentParser(prog="python -m speed.searching", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("prior", "cheap"), help="the response prior, or racing and anchors")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--anchors", type=int, default=12, help="cheap: items per benchmark a candidate is scored on")
    parser.add_argument("--pool", type=int, default=200, help="cheap: items per benchmark they stand for")
    parser.add_argument("--preset", default="response", help="cheap: where both searches start")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    if options.what == "prior":
        row = prior_row(options.seeds, options.budget, options.out)
    else:
        row = cheap_row(options.seeds, options.budget, options.anchors, options.pool, options.preset, options.out)
    print(f"{row['name']}: {row['ratio']} (goal {row['goal']}), {row['detail']}", file=sys.stderr)


if __name__ == "__main__":
    main()
