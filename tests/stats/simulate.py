"""A bench for the statistics: simulated benchmarks with clusters and known truth.

Run it with ``python -m tests.stats.simulate --pairs 2000``.

Items come in clusters that share a difficulty; each model also has its own ups and downs by cluster, so answers are
correlated within clusters and between models. The true accuracy of a model is its mean over clusters never seen, known
to 1e-6. What is asked is what a report claims: do 95 % intervals hold the truth in 95 of 100 benchmarks, and how often
is hybrid vigor claimed for a child that is exactly as good as its better parent.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from darwin_mri.records import Answer, Comparison
from darwin_mri.stats.compare import compare

SPREAD = {"cluster": 1.0, "model": 0.5, "item": 1.0}  # standard deviations of difficulty, in logits
CHANCE = 0.25
# cluster sizes: GPQA diamond; MuSR murder mysteries; a fifth of CLIcK; a small held-out part, four questions a story
LAYOUTS = {
    "gpqa": (1,) * 198,
    "musr": (2,) * 105 + (4,) * 10,
    "click": (1,) * 340 + (2,) * 9 + (3,) * 4 + (4,) * 2 + (6,) * 1,
    "small": (4,) * 30,
}
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
NODE_WEIGHTS = NODE_WEIGHTS / NODE_WEIGHTS.sum()


def ability(accuracy: float) -> float:
    """The logit at which the mean accuracy over all clusters and items is ``accuracy``."""
    spread = np.sqrt(sum(value**2 for value in SPREAD.values()))

    def excess(level: float) -> float:
        return float((CHANCE + (1 - CHANCE) * expit(level + spread * NODES)) @ NODE_WEIGHTS) - accuracy

    level: Any = brentq(excess, -30, 30)
    return float(level)


def sit(rng: np.random.Generator, sizes: Sequence[int], accuracies: Sequence[float]) -> list[list[Answer]]:
    """One benchmark sat by models of the given true accuracies: answers per model, on the same items."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    shared = rng.normal(0, SPREAD["cluster"], len(sizes))[clusters] + rng.normal(0, SPREAD["item"], len(clusters))
    answers = []
    for accuracy in accuracies:
        own = rng.normal(0, SPREAD["model"], len(sizes))[clusters]
        right = rng.random(len(clusters)) < CHANCE + (1 - CHANCE) * expit(ability(accuracy) + shared + own)
        answers.append(
            [
                Answer.model_construct(
                    key=str(row),
                    cluster=str(clusters[row]),
                    slice="s",
                    gold=0,
                    choice=0 if right[row] else 1,
                    credit=float(right[row]),
                    log_probabilities=(),
                    protocol="",
                    choices=4,
                    metrics={},
                    votes=(),
                )
                for row in range(len(clusters))
            ]
        )
    return answers


def family(
    rng: np.random.Generator, layouts: Sequence[str], truth: tuple[float, float, float], resamples: int
) -> Comparison:
    """Child, father and mother of these true accuracies on every layout, compared with equal weights."""
    sat = {name: sit(rng, LAYOUTS[name], truth) for name in layouts}
    keys = ("child", "father", "mother")
    answers = {key: {name: sat[name][column] for name in layouts} for column, key in enumerate(keys)}
    models = {key: (key, key) for key in keys}
    weights = dict.fromkeys(layouts, 1.0)
    seed = int(rng.integers(1 << 30))
    return compare(answers, models, "simulated", dict.fromkeys(layouts, CHANCE), weights, seed, resamples=resamples)


def measure(pairs: int, seed: int, resamples: int) -> dict[str, tuple[int, int]]:
    """Simulate ``pairs`` families of each kind; (held, of) for every kind of interval, (claimed, of) for vigor."""
    rng = np.random.default_rng(seed)
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])

    def count(name: str, held: bool) -> None:
        counts[name][0] += held
        counts[name][1] += 1

    names = list(LAYOUTS)
    for turn in range(pairs):
        layout = names[turn % len(names)]
        base = rng.uniform(0.35, 0.9)
        truth = (base, float(np.clip(base + rng.uniform(-0.1, 0.1), 0.3, 0.95)), base)
        comparison = family(rng, [layout], truth, resamples)
        score = next(s for s in comparison.scores if s.role == "child" and s.benchmark == layout)
        assert score.low is not None and score.high is not None
        count(f"score interval, {layout}", score.low <= truth[0] <= score.high)
        contrast = next(c for c in comparison.contrasts if c.name == "child - father" and c.benchmark == layout)
        count(f"contrast interval, {layout}", contrast.low <= truth[0] - truth[1] <= contrast.high)
    for turn in range(pairs):
        base = rng.uniform(0.45, 0.85)
        behind = (0.0, 0.05, 0.2)[turn % 3]  # of the lesser parent
        comparison = family(rng, ("click", "musr"), (base, base, base - behind), resamples)
        score = next(s for s in comparison.scores if s.role == "child" and s.benchmark == "composite")
        assert score.low is not None and score.high is not None and comparison.vigor is not None
        count("score interval, composite", score.low <= base <= score.high)
        contrast = next(c for c in comparison.contrasts if c.name == "child - father" and c.benchmark == "composite")
        count("contrast interval, composite", contrast.low <= 0 <= contrast.high)
        count(f"false vigor, lesser parent {100 * behind:.0f} points behind", comparison.vigor.claimed)
    for kind in ("score interval", "contrast interval", "false vigor"):
        parts = [value for name, value in counts.items() if name.startswith(kind)]
        counts[f"{kind}, all"] = [sum(held for held, _ in parts), sum(of for _, of in parts)]
    return {name: (held, of) for name, (held, of) in sorted(counts.items())}


def main() -> None:
    """Print coverage and false claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resamples", type=int, default=1999)
    options = parser.parse_args()
    for name, (held, of) in measure(options.pairs, options.seed, options.resamples).items():
        print(f"{name:<46} {held:>5} of {of:<5} {100 * held / of:6.2f} %")


if __name__ == "__main__":
    main()
