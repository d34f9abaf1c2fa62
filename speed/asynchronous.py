"""What waiting costs with one of four workers four times slower: the asynchronous search beside the generational one.

    python -m speed.asynchronous waste --out reports/waste.json
    python -m speed.asynchronous quality --seeds 30 --out reports/quality.json

``waste``: both searches, on threads whose evaluations sleep; wasted is the share of the workers' seconds, from the
first task to the end of the last one, in which they evaluate nothing. ``quality``: fitness reached at equal evaluations
on synthetic objectives, with workers in simulated time.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from darwin_mri.breeding import (
    Devices,
    Evaluate,
    ItemScores,
    Ledger,
    Means,
    SearchOptions,
    SearchResult,
    Start,
    Workers,
    search,
)
from darwin_mri.breeding.workers import Outcome, Task, evaluate_task
from speed.measure import make_row

PACES = (1.0, 1.0, 1.0, 4.0)  # of the workers' seconds per block
BLOCKS, ITEMS = 4, 80
GENES = 12
NAMES = tuple(f"L{index}.ffn" for index in range(GENES))


class SimulatedWorkers:
    """Workers of simulated time: evaluations are computed at once, and end in the order their seconds say.

    Args:
        evaluate: scores a candidate on a block.
        paces: seconds per block of each worker.

    Attributes:
        now: simulated seconds since the beginning.
        busy: sum of the workers' seconds in which they had a task.
    """

    def __init__(self, evaluate: Evaluate, paces: Sequence[float]) -> None:
        self.evaluate, self.paces, self.count = evaluate, tuple(paces), len(paces)
        self.now = self.busy = 0.0
        self._running: list[tuple[float, int, Task]] = []

    def submit(self, task: Task, worker: int) -> None:
        """As ``Workers``; a worker that has a task already is an error."""
        if any(number == worker for _, number, _ in self._running):
            raise AssertionError(f"worker {worker} has a task already")
        heapq.heappush(self._running, (self.now + self.paces[worker], worker, task))

    def next(self) -> Outcome:
        """As ``Workers``."""
        self.now, worker, task = heapq.heappop(self._running)
        self.busy += self.paces[worker]
        outcome = evaluate_task(self.evaluate, task)
        return Outcome(task, outcome.scores, self.paces[worker], outcome.reason)

    def close(self) -> None:
        """Nothing is held."""

    @property
    def wasted(self) -> float:
        """Share of the workers' seconds in which they had no task."""
        return 1 - self.busy / (self.count * self.now)


def make_start(mean: float) -> Start:
    """A box of [0, 1] and a prior that is equally unsure of every gene."""
    means = np.full(GENES, mean)
    return Start(
        names=NAMES,
        mean=means,
        sigma=np.full(GENES, 0.2),
        low=np.zeros(GENES),
        high=np.ones(GENES),
        frozen=np.zeros(GENES, dtype=bool),
        opening=np.outer((1.0, 0.5, 0.0), means),
    )


def noisy(loss: Callable[[np.ndarray], float], noise: float, seed: int) -> Evaluate:
    """An objective on items: each item has a difficulty, and a noise that depends on candidate and item.

    Args:
        loss: of the genes, (genes,); 0 at the optimum.
        noise: standard deviation of an item's.
        seed: of difficulties and noise.
    """
    difficulty = np.random.default_rng(seed).uniform(-0.1, 0.1, ITEMS)  # (items,)
    size = ITEMS // BLOCKS

    def evaluate(genes: Mapping[str, float], block: int) -> ItemScores:
        vector = np.array(list(genes.values()))
        digest = int.from_bytes(vector.tobytes()[:6] + vector.tobytes()[8:14], "big")
        errors = np.random.default_rng((seed, block, digest)).normal(0, noise, size)
        part = difficulty[block * size : (block + 1) * size]
        return {"toy": (0.9 - loss(vector) + part + errors).tolist()}

    return evaluate


def sphere(vector: np.ndarray) -> float:
    """Mean square distance from .8."""
    return float(np.mean((vector - 0.8) ** 2))


def ellipsoid(vector: np.ndarray) -> float:
    """As ``sphere``, with weights from 1 to 1,000, rotated: genes depend on each other."""
    rotation, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(GENES, GENES)))
    weights = np.logspace(0, 3, GENES)
    return float(weights @ (rotation @ (vector - 0.7)) ** 2 / weights.sum())


def rastrigin(vector: np.ndarray) -> float:
    """As ``sphere``, with waves."""
    steps = vector - 0.7
    return float(np.mean(steps**2 + 0.01 * (1 - np.cos(8 * np.pi * steps))))


def run_search(workers: Workers, start: Start, options: SearchOptions) -> tuple[SearchResult, Ledger]:
    """A search that is kept in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as folder:
        ledger = Ledger(Path(folder) / "ledger.jsonl", Path(folder) / "blocks.jsonl")
        return search(start, workers, Means(BLOCKS, {"toy": 1.0}), ledger, options), ledger


def measure_waste(seconds: float, budget: int, *, asynchronous: bool) -> tuple[float, float]:
    """Threads whose evaluations sleep.

    Args:
        seconds: of a fast worker's block.
        budget: candidates.
        asynchronous: else by generations.

    Returns:
        The share that was wasted, and the seconds of the search.
    """
    objective, spent = noisy(sphere, 0.05, 0), [0.0] * len(PACES)

    def sleeper(number: int) -> Evaluate:
        def evaluate(genes: Mapping[str, float], block: int) -> ItemScores:
            began = time.monotonic()
            time.sleep(seconds * PACES[number])
            spent[number] += time.monotonic() - began
            return objective(genes, block)

        return evaluate

    workers = Devices([sleeper(number) for number in range(len(PACES))])
    began = time.monotonic()
    run_search(workers, make_start(0.5), SearchOptions(budget, 10, 1, asynchronous=asynchronous))
    wall = time.monotonic() - began
    workers.close()
    return 1 - sum(spent) / (len(PACES) * wall), wall


def waste_row(seconds: float = 0.2, budget: int = 60, out: Path | None = None) -> dict[str, Any]:
    """The row of the speed table.

    Args:
        seconds: of a fast worker's block.
        budget: candidates.
        out: JSON file for the figures of both searches.
    """
    wasted, wall = measure_waste(seconds, budget, asynchronous=True)
    other, other_wall = measure_waste(seconds, budget, asynchronous=False)
    if out:
        figures = {"asynchronous": {"wasted": wasted, "seconds": wall}}
        _write(out, {"budget": budget, **figures, "generational": {"wasted": other, "seconds": other_wall}})
    return make_row(
        "workers, one 4x slower",
        "all seconds of four workers",
        wasted,
        0.1,
        lower=True,
        detail=f"wasted, {wall:.1f} s for {budget} candidates; by generations {other:.3f} wasted, {other_wall:.1f} s",
    )


def measure_quality(seeds: int, budget: int) -> list[dict[str, Any]]:
    """Medians over seeds of the winner's true loss, of the items evaluated and of the waste, by objective and search.

    Args:
        seeds: how many.
        budget: candidates.
    """
    equal = (1.0,) * len(PACES)
    searches = {"generational": (False, equal), "asynchronous": (True, equal), "asynchronous, one slow": (True, PACES)}
    records: list[dict[str, Any]] = []
    for loss in (sphere, ellipsoid, rastrigin):
        reference: list[float] = []
        for name, (asynchronous, paces) in searches.items():
            found: list[tuple[float, int, float]] = []
            for seed in range(seeds):
                workers = SimulatedWorkers(noisy(loss, 0.05, seed), paces)
                result, ledger = run_search(
                    workers, make_start(0.5), SearchOptions(budget, 10, seed, asynchronous=asynchronous)
                )
                genes = np.array(list(result.ranking[0].genes.values()))
                found.append((loss(genes), sum(line.items for line in ledger.lines), workers.wasted))
            losses, items, wasted = (list(column) for column in zip(*found, strict=True))
            reference = reference or losses
            records.append(
                {
                    "objective": loss.__name__,
                    "search": name,
                    "loss": median(losses),
                    "items": median(items),
                    "wasted": median(wasted),
                    "lower": sum(a < b for a, b in zip(losses, reference, strict=True)),
                }
            )
    return records


def _write(out: Path, figures: object) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m speed.asynchronous", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("waste", "quality"))
    parser.add_argument("--seconds", type=float, default=0.2, help="waste: of a fast worker's block")
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=30, help="quality: searches of each kind")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    if options.what == "waste":
        row = waste_row(options.seconds, options.budget, options.out)
        print(f"{row['name']}: {row['ratio']} (goal {row['goal']}), {row['detail']}", file=sys.stderr)
        return
    records = measure_quality(options.seeds, options.budget)
    _write(options.out, records)
    for record in records:
        print(
            f"{record['objective']:<10} {record['search']:<23} loss {record['loss']:.2e}, {record['items']:.0f} items,"
            f" wasted {record['wasted']:.3f}, lower than generational in {record['lower']} of {options.seeds}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
