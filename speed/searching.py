"""What a search costs on the nursery's siblings: the response prior against a flat start, racing and anchors against asking everything.

    python -m speed.searching --seeds 10 --out reports/searching.json

Per seed (which draws items, splits and candidates): a flat start spends its whole budget on all items; the others count how much
they need for what it reached. Evaluations are candidates on all items; a gradient over an item counts as three.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
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
                run, whole, start, items.search, log_mother(config, self.mother, items.search, Silent()), Silent()
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m speed.searching", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--anchors", type=int, default=12)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options.budget, Path(folder))
        for seed in range(1, options.seeds + 1):
            flat, _ = bench.one(seed, "flat", "flat")
            response, spent = bench.one(seed, "response", "response")
            cheap, logged = bench.one(seed, "response", "cheap", racing=True, blocks=3, anchors=options.anchors)
            pool, count = flat.items[0], needed(response, flat.curve[-1])
            rows.append(
                {
                    "seed": seed, "flat": flat.curve, "response": response.curve, "needed": count,
                    "needed_with_gradients": None if count is None else count + spent / pool,
                    "items": {"flat": flat.items[-1], "response": response.items[-1] + spent, "cheap": cheap.items[-1] + logged},
                    "held_out": {"flat": flat.held_out, "response": response.held_out, "cheap": cheap.held_out},
                }
            )  # fmt: skip
            print(
                json.dumps(
                    {key: rows[-1][key] for key in ("seed", "needed", "needed_with_gradients", "items", "held_out")}
                ),
                file=sys.stderr,
                flush=True,
            )
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    never = options.budget
    for key in ("needed", "needed_with_gradients"):
        ratios = [(row[key] or never) / options.budget for row in rows]
        print(f"response prior, {key}: median ratio {median(ratios):.3f} (goal 0.2)", file=sys.stderr)
    ratios = [row["items"]["cheap"] / row["items"]["response"] for row in rows]
    gap = [row["held_out"]["cheap"] - row["held_out"]["response"] for row in rows]
    print(
        f"racing and anchors: median ratio of item evaluations {median(ratios):.3f} (goal 0.1), held-out fitness {np.mean(gap):+.4f}"
        f" +- {np.std(gap, ddof=1) / np.sqrt(len(gap)):.4f}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
