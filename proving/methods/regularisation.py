"""Which shrink and ridge `regression` does best with, on search items alone: the choice of its defaults.

python -m proving.methods.regularisation --siblings DIR --out FILE.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from proving.methods.bench import Bench, Sizes
from proving.methods.siblings import NurserySiblings

MOMENTS = ("probes", "deltas")
SHRINKS = (0.5, 0.7, 0.9, 0.97, 1.0)
RIDGES = (1e-4, 1e-3, 1e-2)
SHARES = (0.7, 1.0)  # the better of them counts: shares of 1 / parents each


def best_shares(bench: Bench, moments: str) -> dict[str, float]:
    """The smooth fitness on the search items at the better share.

    Args:
        bench: of a seed and a number of parents.
        moments: kind of the regression.

    Returns:
        "shrink ridge" -> fitness.
    """
    scores = {}
    for shrink, ridge in itertools.product(SHRINKS, RIDGES):
        evaluator = bench.open("regression", {"moments": moments, "shrink": shrink, "ridge": ridge})
        tried = []
        for share in SHARES:
            evaluator.candidate.apply(dict.fromkeys(evaluator.space.tensors(), share / bench.count))
            tried.append(bench.smooth("search"))
        scores[f"{shrink} {ridge}"] = max(tried)
    return scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all benches, write their scores, print the means."""
    parser = argparse.ArgumentParser(
        prog="python -m proving.methods.regularisation", description=(__doc__ or "").strip()
    )
    parser.add_argument("--siblings", type=Path, required=True, help="folder in which trained specialists are kept")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of all scores")
    parser.add_argument("--parents", default="2,4", help="numbers of parents, comma-separated")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for seed, count in itertools.product(range(1, given.seeds + 1), map(int, given.parents.split(","))):
        siblings = NurserySiblings(given.siblings, seed)
        siblings.train(lambda text: print(text, file=sys.stderr, flush=True))
        with tempfile.TemporaryDirectory(prefix="darwin-mri-methods-") as folder:
            bench = Bench(siblings, count, Sizes(), Path(folder))
            for moments in MOMENTS:
                rows.append({"seed": seed, "parents": count, "moments": moments, **best_shares(bench, moments)})
                given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                print(f"seed {seed}, {count} parents, {moments}", file=sys.stderr, flush=True)
    for moments in MOMENTS:
        own = [row for row in rows if row["moments"] == moments]
        print(f"{moments}: mean smooth fitness of {len(own)} benches; rows shrink, columns ridge {RIDGES}")
        for shrink in SHRINKS:
            means = [np.mean([row[f"{shrink} {ridge}"] for row in own]) for ridge in RIDGES]
            print(f"  {shrink}: " + " ".join(f"{mean:.4f}" for mean in means))
    return 0


if __name__ == "__main__":
    sys.exit(main())
