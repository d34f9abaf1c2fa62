"""What a search costs on the nursery's siblings: the response prior against a flat start, racing and anchors against asking everything.

    python -m speed.searching prior --seeds 10 --out reports/prior.json
    python -m speed.searching cheap --seeds 10 --budget 120 --pool 200 --out reports/cheap.json

A seed draws items, splits and candidates. ``prior``: a flat start spends its whole budget, the response prior counts the candidates it needs for what
that reached; a gradient over an item counts as three evaluations. ``cheap``: item evaluations at the same budget, and what the held-out fitness loses.
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

from darwin_mri.benchmarks import Scorer
from darwin_mri.breeding import InProcess, Ledger, Means, Rules, SearchResult, search
from darwin_mri.config import Config, load_config
from darwin_mri.merging import Candidate
from darwin_mri.records import Prior
from darwin_mri.stages import merging, parents, priors, scanning
from darwin_mri.stages.anchoring import anchor, log_mother
from darwin_mri.stages.fitness import Fitness, weighted
from darwin_mri.stages.items import choose_items
from darwin_mri.stages.run import Silent, open_run
from speed.measure import row

CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"
GRADIENT = 3  # forwards that one gradient costs


@dataclass(frozen=True)
class Found:
    """One search: best fitness so far after each candidate, item evaluations after each, and the winner's held-out fitness."""

    curve: list[float]
    items: list[int]
    held_out: float


class Bench:
    """The siblings, loaded and scanned once."""

    def __init__(self, budget: int, folder: Path) -> None:
        self.budget, self.folder = budget, folder
        config = self.config(1, "flat")
        roles = {"father": config.father, "mother": config.mother, "base": config.base or ""}
        self.sources = {role: parents.find(ref, True) for role, ref in roles.items()}
        self.father, self.mother = (
            parents.load(self.sources[role], "", device="cpu", dtype="float32") for role in ("father", "mother")
        )
        self.breed = merging.breed_siblings(config, self.father, self.sources["mother"], self.sources["base"])
        run = open_run(folder / "scan", config, (), "cpu")
        self.scans = scanning.scan_both(run, self.father, self.mother, Silent())

    def config(self, seed: int, preset: str, **search_: Any) -> Config:
        more = {"budget": self.budget, "racing": False, "blocks": 1, **search_}
        return load_config(CONFIG, {"seed": seed, "prior": {"preset": preset, "protect": ()}, "search": more})

    def one(self, seed: int, preset: str, name: str, **search_: Any) -> tuple[Found, int]:
        """(what was found, item evaluations spent before the search began)."""
        config = self.config(seed, preset, **search_)
        run = open_run(self.folder / f"{name}-{seed}", config, (), "cpu")
        parts = {role: self.sources[role] for role in ("father", "mother")}
        items = choose_items(config, parts, offline=True)
        prior, _ = priors.measure_prior(run, self.father, self.breed, self.scans, items, Silent())
        before = self._gradients(prior, items.search, config)
        candidate = Candidate(self.father.model, self.breed.tensors(), self.breed.merge)
        scorer, start = Scorer(self.father.model, self.father.tokenizer), self.breed.genome.start(prior)
        asked, estimate = items.search, Means(config.search.blocks, config.weights)
        if config.search.anchors:
            whole = Fitness(candidate, self.breed, scorer, items.search, smooth=True)
            asked, estimate, logged = anchor(
                run, whole, start, items.search, log_mother(run, self.mother, items.search, Silent()), Silent()
            )
            before += logged
        fitness = Fitness(candidate, self.breed, scorer, asked, blocks=config.search.blocks, smooth=True)
        rules = Rules(budget=self.budget, population=config.search.population, seed=seed, racing=config.search.racing)
        ledger = Ledger(run.path("ledger.jsonl"))
        result = search(start, InProcess(fitness), estimate, ledger, rules)
        found = self._found(result, ledger, candidate, scorer, items, config)
        candidate.restore()
        return found, before

    def _gradients(self, prior: Prior, items: dict, config: Config) -> int:
        if prior.preset != "response":
            return 0
        size = sum(min(config.prior.items, len(part)) for part in items.values())
        steps = prior.note.partition("; ")[2].partition(" steps")[0]
        return GRADIENT * size * (2 + (int(steps) if steps.isdigit() else 0))

    def _found(
        self, result: SearchResult, ledger: Ledger, candidate: Candidate, scorer: Scorer, items: Any, config: Config
    ) -> Found:
        lines = list(ledger.lines)
        values = [line.fitness if line.status == "ok" and line.fitness is not None else 0.0 for line in lines]
        held_out = {name: items.held_out[name] for name in config.weights}
        after = Fitness(candidate, self.breed, scorer, held_out, smooth=True)(result.ranking[0].genes)
        return Found(
            np.maximum.accumulate(values).tolist(),
            np.cumsum([line.items for line in lines]).tolist(),
            weighted(after, config.weights),
        )


def needed(found: Found, target: float) -> int | None:
    """Candidates until the target was reached; None: never."""
    return next((number + 1 for number, value in enumerate(found.curve) if value >= target), None)


def measure(seeds: int, budget: int, keep: Path | None, compare: Callable[[Bench, int], dict[str, Any]]) -> list[Any]:
    """One record per seed; written to ``keep`` after each."""
    records = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(budget, Path(folder))
        for seed in range(1, seeds + 1):
            records.append({"seed": seed, "budget": budget, **compare(bench, seed)})
            print(f"seed {seed}: {records[-1]['said']}", file=sys.stderr, flush=True)
            if keep:
                keep.parent.mkdir(parents=True, exist_ok=True)
                keep.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return records


def prior_row(seeds: int = 3, budget: int = 40, keep: Path | None = None) -> dict[str, Any]:
    """Candidates that the response prior needs to reach what a flat start ends with; median over seeds."""

    def compare(bench: Bench, seed: int) -> dict[str, Any]:
        flat, _ = bench.one(seed, "flat", "flat")
        response, spent = bench.one(seed, "response", "response")
        count = needed(response, flat.curve[-1]) or budget
        return {
            "flat": flat.curve, "response": response.curve, "needed": count, "with_gradients": count + spent / flat.items[0],
            "held_out": {"flat": flat.held_out, "response": response.held_out}, "said": f"{count} of {budget} evaluations",
        }  # fmt: skip

    records = measure(seeds, budget, keep, compare)
    ratios = [r["needed"] / budget for r in records]
    dear = median(r["with_gradients"] / budget for r in records)
    return row(
        "search from the prior", "flat start's whole budget, to its fitness", median(ratios), 0.2, lower=True,
        detail=f"{min(ratios):.2f} to {max(ratios):.2f} over {seeds} seeds, budget {budget}; {dear:.2f} with the gradients' cost",
    )  # fmt: skip


def cheap_row(
    seeds: int = 3,
    budget: int = 40,
    anchors: int = 12,
    pool: int = 200,
    preset: str = "response",
    keep: Path | None = None,
) -> dict[str, Any]:
    """Item evaluations with racing and anchors against asking every candidate the whole pool, both from the same start."""

    def compare(bench: Bench, seed: int) -> dict[str, Any]:
        whole, before = bench.one(seed, preset, "whole", items=pool)
        cheap, spent = bench.one(seed, preset, "cheap", items=pool, racing=True, blocks=3, anchors=anchors)
        # The prior's gradients are the same on both sides; ``before`` is nothing else.
        items = {"whole": whole.items[-1], "cheap": cheap.items[-1] + spent - before, "gradients": before}
        gap = cheap.held_out - whole.held_out
        said = f"{items['cheap']} of {items['whole']} item evaluations, held-out fitness {gap:+.4f}"
        return {
            "items": items,
            "held_out": {"whole": whole.held_out, "cheap": cheap.held_out},
            "gap": gap,
            "said": said,
        }

    records = measure(seeds, budget, keep, compare)
    gaps = [r["gap"] for r in records]
    sums = [{key: r["items"][key] + r["items"]["gradients"] for key in ("cheap", "whole")} for r in records]
    dear = median(s["cheap"] / s["whole"] for s in sums)
    error = np.std(gaps, ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
    return row(
        "racing and anchors", "the whole pool for every candidate, same budget",
        median(r["items"]["cheap"] / r["items"]["whole"] for r in records), 0.1, lower=True,
        detail=f"item evaluations, logging included, pool of {pool} per benchmark, {anchors} anchors, {preset} start, budget {budget}, {seeds} seeds;"
        f" held-out fitness {np.mean(gaps):+.4f} +- {error:.4f}; with the prior's gradients on both sides {dear:.3f}",
    )  # fmt: skip


def search_rows() -> list[dict[str, Any]]:
    """Both rows of the speed table, on three seeds."""
    return [prior_row(), cheap_row()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m speed.searching", description=__doc__)
    parser.add_argument("what", choices=("prior", "cheap"), help="the response prior, or racing and anchors")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--anchors", type=int, default=12, help="cheap: items per benchmark asked of a candidate")
    parser.add_argument("--pool", type=int, default=200, help="cheap: items per benchmark they stand for")
    parser.add_argument("--preset", default="response", help="cheap: where both searches start")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    if options.what == "prior":
        found = prior_row(options.seeds, options.budget, options.out)
    else:
        found = cheap_row(options.seeds, options.budget, options.anchors, options.pool, options.preset, options.out)
    print(f"{found['name']}: {found['ratio']} (goal {found['goal']}), {found['detail']}", file=sys.stderr)


if __name__ == "__main__":
    main()
