"""Held-out hypervolume of the front that each strategy finds on the nursery's siblings, at equal evaluations.

    python -m experiments.front_hypervolume --seeds 10 --budget 40 --out FILE

The pair of configs/david.yaml, two objectives (nursery_click, nursery_musr). A seed draws items, splits and candidates;
the scan is made once. At each seed nsga2 starts from the scan's prior and from a flat one, mo-cma and cma (one fitness)
from the scan's prior, and random draws from the box. Every search's front is taken as a run takes it: what no other
candidate dominates on search items, twelve at most; its members are then scored on held-out items. The hypervolume is
the area above the worse parent of each objective, as a share of the rectangle between the worse and the better parent:
1 is a child as good as the better parent in both, more is possible. Run by hand, not by pytest: minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import InProcess, Ledger, Means, SearchOptions, search
from darwin_mri.config import Config, load_config
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.problem.front import find_front, hypervolume, means, score_references
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import MergeSpace, sibling_space
from darwin_mri.records import LedgerLine, Prior
from darwin_mri.run import Silent, open_run
from darwin_mri.stages.prior import measure_prior
from darwin_mri.stages.scan import scan_parents

CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"
SEARCHES = {  # name -> (strategy, preset of the prior)
    "nsga2": ("nsga2", "response"),
    "nsga2 flat": ("nsga2", "flat"),
    "mo-cma": ("mo-cma", "response"),
    "cma": ("cma", "response"),
    "random": ("random", "response"),
}


def make_config(seed: int, preset: str, options: argparse.Namespace) -> Config:
    """The pair's config with small parts: no racing, so that every candidate is scored on all items."""
    return load_config(
        CONFIG,
        {
            "seed": seed,
            "prior": {"preset": preset, "protect": (), "items": options.items},
            "search": {"strategy": "nsga2", "budget": options.budget, "items": options.items, "racing": False},
            "bench": {"items": options.held_out},
        },
    )


def find_lines(
    strategy: str, prior: Prior, evaluator: Evaluator, items: Mapping[str, Sequence[Item]], folder: Path
) -> list[LedgerLine]:
    """Every candidate of one search."""
    config, start = evaluator.config, evaluator.space.genome.start(prior)
    options = SearchOptions(config.search.budget, config.search.population, config.seed, False, strategy)
    ledger = Ledger(folder / "ledger.jsonl")
    search(start, InProcess(evaluator.on(items)), Means(1, config.weights), ledger, options)
    return ledger.lines


def measure_seed(seed: int, options: argparse.Namespace, scans: object, folder: Path) -> dict[str, float]:
    """Hypervolume by search."""
    found: dict[str, float] = {}
    priors: dict[str, Prior] = {}
    config = make_config(seed, "response", options)
    parents = Parents.find(config, device="cpu", offline=True)
    space: MergeSpace = sibling_space(config, parents.father, parents.other_sources, parents.base)
    for preset in ("response", "flat"):
        own = make_config(seed, preset, options)
        run = open_run(folder / f"{preset}-{seed}", own, (), "cpu")
        priors[preset], _ = measure_prior(run, parents, space, scans)  # pyright: ignore[reportArgumentType]
    held_out = {name: parents.items.held_out[name] for name in config.weights}
    kin = score_references(parents, space, {}, held_out, Silent())
    corners = [parent.held_out for parent in kin]
    evaluator = Evaluator(config, parents.father, space)
    whole = evaluator.on(held_out)
    for name, (strategy, preset) in SEARCHES.items():
        lines = find_lines(strategy, priors[preset], evaluator, parents.items.search, folder / f"{name}-{seed}")
        front = find_front([line for line in lines if line.status == "ok"], config)
        found[name] = hypervolume([means(whole(line.genes)) for line in front], corners) or 0.0
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.front_hypervolume", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=40)
    parser.add_argument("--items", type=int, default=16, help="search items per benchmark")
    parser.add_argument("--held-out", type=int, default=40, help="held-out items per benchmark")
    parser.add_argument("--out", type=Path, help="JSON file, written after every seed")
    options = parser.parse_args()
    records: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(1, "response", options)
        parents = Parents.find(config, device="cpu", offline=True)
        scans = scan_parents(open_run(Path(folder) / "scan", config, (), "cpu"), parents)
        for seed in range(1, options.seeds + 1):
            records.append({"seed": seed, **measure_seed(seed, options, scans, Path(folder))})
            print(", ".join(f"{name} {value:.3f}" for name, value in records[-1].items()), file=sys.stderr, flush=True)
            if options.out:
                options.out.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    for name in SEARCHES:
        values = [record[name] for record in records]
        ahead = sum(record["nsga2"] > record[name] for record in records)
        print(f"{name}: median {median(values):.3f} of {len(values)} seeds; nsga2 is ahead in {ahead}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
