"""False vigor and the coverage of intervals in simulated runs whose truth is known.

    python -m experiments.null_runs --runs 2000 --seed 1 --out FILE

Every run draws answers, item by item, of a child, its parents and a null child, and hands them to the function that
makes every comparison.json. The child is exactly as good as its best parent on the composite: of all cases without
vigor the one that is hardest to tell from it. A front's child is chosen among members of equal worth by the functions
that a run chooses with, on search items of its own. Counted are the runs that claim vigor, and the 95 % intervals that
hold the truth; the bounds beside each share are Clopper's and Pearson's (95 %).

Expected before the first runs were looked at (aim: false vigor at most 5 %, coverage 93 to 97 %):

* exact sign flips keep false vigor at 5 % wherever both models could have given each cluster's answers; with all
  parents equal it is far lower. Where the child's NLL has rare large losses it is above 5 % with 12 texts (about 8 %),
  since a sample without such a loss flatters the child;
* a score near 1 in clusters is covered in less than 93 %: Student's interval is symmetric there;
* a child that copies 95 % of its father's answers is covered in less than 93 %: the bootstrap resamples a handful of
  items that differ;
* clusters of very unequal sizes are covered in less than 93 %: the degrees of freedom count clusters, not their weight;
* a composite of a benchmark of 6 clusters and one of hundreds is covered in more than 97 %: the smaller number of
  clusters rules;
* breakdowns on one text in ten (added after the first runs) are beyond help with 12 texts: a quarter of samples hold
  none of them;
* of four children of one family each keeps 5 %, and one of them claims vigor in up to 15 % of families.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import beta

from darwin_mri import seeds
from darwin_mri.config import Config, load_config
from darwin_mri.problem.front import choose_member, find_front
from darwin_mri.records import BenchmarkInfo, Comparison, LedgerLine
from darwin_mri.records.roles import PARENTS
from darwin_mri.records.score import COMPOSITE
from darwin_mri.stats.compare import compare
from experiments.null_answers import (
    BOOKS,
    CHAPTERS,
    CLICK,
    FEW_TEXTS,
    GPQA,
    MUSR,
    PARTS,
    STORIES,
    TEXTS,
    UNEVEN,
    Bench,
    as_answers,
    draw_scores,
)

CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"
Counts = dict[str, tuple[int, int]]
"""What is counted -> (how often it held, of how many)."""


@dataclass(frozen=True)
class Scenario:
    """One kind of run.

    Attributes:
        benches: of the composite, equally weighted.
        scores: the child's true scores are drawn from this range.
        behind: how much worse than the child each parent is, on every benchmark; 0 for the father.
        copied: share of items on which the child answers as the father does.
        members: of the front that the child is chosen from; 1 where there is no front.
        children: that the same parents have.
    """

    benches: tuple[Bench, ...]
    scores: tuple[float, float] = (0.45, 0.85)
    behind: tuple[float, ...] = (0.0, 0.2)
    copied: float = 0.0
    members: int = 1
    children: int = 1


PAIR = (Bench("click", CLICK), Bench("musr", MUSR))
FRONT = (Bench("nursery_click", (1,) * 140), Bench("nursery_musr", (2,) * 70))
SCENARIOS = {
    "parents equal": Scenario(PAIR, behind=(0.0, 0.0)),
    "one parent 5 points behind": Scenario(PAIR, behind=(0.0, 0.05)),
    "one parent 20 points behind": Scenario(PAIR),
    "three benchmarks": Scenario((*PAIR, Bench("gpqa", GPQA))),
    "four parents, all equal": Scenario(PAIR, behind=(0.0,) * 4),
    "four parents, three behind": Scenario(PAIR, behind=(0.0, 0.2, 0.2, 0.2)),
    "clusters of 4 and of 10": Scenario((Bench("stories", STORIES), Bench("chapters", CHAPTERS))),
    "six clusters each": Scenario((Bench("books", BOOKS), Bench("books2", BOOKS))),
    "six clusters and hundreds": Scenario((Bench("books", BOOKS), Bench("click", CLICK))),
    "six even clusters and hundreds": Scenario((Bench("parts", PARTS, cluster=0.1, model=0.05), Bench("click", CLICK))),
    "uneven clusters": Scenario((Bench("uneven", UNEVEN), Bench("uneven2", UNEVEN))),
    "uneven clusters, own strengths": Scenario((Bench("uneven", UNEVEN, model=1.5),)),
    "near 1": Scenario((Bench("stories", STORIES), Bench("gpqa", GPQA)), (0.96, 0.985), (0.0, 0.1)),
    "near 0": Scenario((Bench("stories", STORIES, 0.0), Bench("gpqa", GPQA, 0.0)), (0.03, 0.05), (0.0, 0.02)),
    "child much like the father": Scenario((Bench("stories", STORIES), Bench("gpqa", GPQA)), copied=0.95),
    "NLL per byte": Scenario((Bench("ko", TEXTS, None), Bench("en", TEXTS, None)), (-1.2, -0.8), (0.0, 0.1)),
    "NLL, rare losses": Scenario(
        (Bench("ko", FEW_TEXTS, None, noise="rare losses"), Bench("en", TEXTS, None, noise="rare losses")),
        (-1.2, -0.8),
        (0.0, 0.1),
    ),
    "NLL, rare losses, 12 texts": Scenario(
        (Bench("ko", FEW_TEXTS, None, noise="rare losses"),), (-1.2, -0.8), (0.0, 0.1)
    ),
    "NLL, breakdowns": Scenario(
        (Bench("ko", TEXTS, None, noise="breakdowns"), Bench("en", TEXTS, None, noise="breakdowns")),
        (-1.2, -0.8),
        (0.0, 0.1),
    ),
    "NLL, breakdowns, 12 texts": Scenario(
        (Bench("ko", FEW_TEXTS, None, noise="breakdowns"),), (-1.2, -0.8), (0.0, 0.1)
    ),
    "NLL and accuracy": Scenario((Bench("ko", TEXTS, None), Bench("click", CLICK)), (0.45, 0.85), (0.0, 0.1)),
    "front of 12": Scenario(FRONT, members=12),
    "four children": Scenario(PAIR, children=4),
}


def simulate(scenario: Scenario, rng: np.random.Generator, resamples: int) -> Counter[tuple[str, bool]]:
    """One run of a scenario: (what is counted, whether it held) -> how often.

    Args:
        scenario: what is drawn.
        rng: draws it.
        resamples: of every bootstrap and permutation.

    Returns:
        The counts of all its children.
    """
    base = float(np.round(rng.uniform(*scenario.scores), 3))
    offsets = [0.0] * len(scenario.benches) if scenario.members == 1 else _chosen(scenario, base, rng)
    children = [f"child {number}" for number in range(scenario.children)]
    behind = {**dict(zip(PARENTS, scenario.behind, strict=False)), "null:uniform": 0.0}
    truths = {
        bench.name: {
            **dict.fromkeys(children, base + offset),
            **{role: base - own for role, own in behind.items()},
        }
        for bench, offset in zip(scenario.benches, offsets, strict=True)
    }
    drawn = {b.name: draw_scores(rng, b, truths[b.name], scenario.copied) for b in scenario.benches}
    answers = {
        key: {bench.name: as_answers(bench, drawn[bench.name][key]) for bench in scenario.benches}
        for key in (*children, *behind)
    }
    seed = int(rng.integers(1 << 30))
    counts: Counter[tuple[str, bool]] = Counter()
    claims: list[bool] = []
    for child in children:
        comparison = compare(
            {key: answers[key] for key in (child, *behind)},
            {child: (child, "child"), **{role: (role, role) for role in behind}},
            "simulated",
            {bench.name: bench.chance for bench in scenario.benches},
            dict.fromkeys(truths, 1.0),
            seed,
            benchmarks=tuple(BenchmarkInfo(name=b.name, title=b.name, unit=b.unit) for b in scenario.benches),
            resamples=resamples,
        )
        counts += judge(comparison, {name: {**own, "child": own[child]} for name, own in truths.items()})
        assert comparison.vigor is not None
        claims.append(comparison.vigor.claimed)
    if scenario.children > 1:
        counts["false vigor of any child", any(claims)] += 1
    return counts


def _chosen(scenario: Scenario, base: float, rng: np.random.Generator) -> tuple[float, float]:
    """How far the chosen member of a front is above and below its parents on two objectives."""
    config = front_config()
    lines: list[LedgerLine] = []
    shifts = np.linspace(-0.1, 0.1, scenario.members)
    for number, shift in enumerate(shifts):
        truths = dict(zip(config.weights, (base + shift, base - shift), strict=True))
        scores = {name: float(rng.binomial(64, truth)) / 64 for name, truth in truths.items()}
        line = LedgerLine.model_construct(
            evaluation=number, genes={}, fitness=sum(scores.values()) / 2, scores=scores, items=128, violation=0.0
        )
        lines.append(line)
    shift = float(shifts[choose_member(find_front(lines, config), {}, config).evaluation])
    return shift, -shift


@cache
def front_config() -> Config:
    """The config of a search for two objectives of equal weight."""
    fitness = {"nursery_click": 1.0, "nursery_musr": 1.0}
    return load_config(CONFIG, {"fitness": fitness, "search": {"strategy": "nsga2"}})


def judge(comparison: Comparison, truths: Mapping[str, Mapping[str, float]]) -> Counter[tuple[str, bool]]:
    """What the comparison claims, held against the truth.

    Args:
        comparison: of a child that is no better than its best parent.
        truths: benchmark -> role -> true score.

    Returns:
        (what is counted, whether it held) -> how often: of a claim, that it is made; of an interval, that it holds.
    """
    counts: Counter[tuple[str, bool]] = Counter()
    means = {role: float(np.mean([own[role] for own in truths.values()])) for role in next(iter(truths.values()))}
    known = {**truths, COMPOSITE: means}
    for score in comparison.scores:
        if score.role == "child" and score.slice in ("all", "s0"):
            kind = f"score, {score.benchmark}" if score.slice == "all" else "score, slices"
            low, high = -math.inf if score.low is None else score.low, math.inf if score.high is None else score.high
            counts[kind, low <= known[score.benchmark]["child"] <= high] += 1
    for contrast in comparison.contrasts:
        if contrast.other in ("father", "mother"):
            own = known[contrast.benchmark]
            held = contrast.low <= own["child"] - own[contrast.other] <= contrast.high
            equal = "an equal" if own[contrast.other] == own["child"] else "another"
            counts[f"contrast with {equal}, {contrast.benchmark}", held] += 1
    vigor = comparison.vigor
    assert vigor is not None and vigor.better_parent_low is not None and vigor.better_parent_high is not None
    shown = max((s for s in comparison.scores if s.role in PARENTS and s.benchmark == COMPOSITE), key=lambda s: s.value)
    gain = means["child"] - means[shown.role]
    counts["child minus best parent", vigor.better_parent_low <= gain <= vigor.better_parent_high] += 1
    counts["false vigor", vigor.claimed] += 1
    return counts


def bounds(held: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share by Clopper and Pearson."""
    low = float(beta.ppf(0.025, held, of - held + 1)) if held else 0.0
    high = float(beta.ppf(0.975, held + 1, of - held)) if held < of else 1.0
    return low, high


def measure(name: str, runs: int, seed: int, resamples: int) -> Counts:
    """All runs of one scenario.

    Args:
        name: of the scenario.
        runs: how many.
        seed: of the draws; other scenarios draw other numbers.
        resamples: of every bootstrap and permutation.

    Returns:
        The counts, by what is counted.
    """
    rng = seeds.named(seed, "null runs", name)
    counts: Counter[tuple[str, bool]] = Counter()
    for _ in range(runs):
        counts += simulate(SCENARIOS[name], rng, resamples)
    kinds = dict.fromkeys(kind for kind, _ in counts)
    return {kind: (counts[kind, True], counts[kind, True] + counts[kind, False]) for kind in kinds}


def show(counts: Counts) -> list[str]:
    """One line for each thing that is counted."""
    lines: list[str] = []
    for kind, (held, of) in sorted(counts.items()):
        low, high = bounds(held, of)
        aim = high > 0 and low <= 0.05 if kind.startswith("false") else high >= 0.93 and low <= 0.97
        mark = "" if aim else "  OUTSIDE"
        lines.append(
            f"{kind:<40} {held:>5} of {of:<5} {100 * held / of:5.1f} % [{100 * low:.1f}, {100 * high:.1f}]{mark}"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.null_runs", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="of each scenario")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resamples", type=int, default=1999)
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="one scenario; may be repeated")
    parser.add_argument("--out", type=Path, help="JSON file, written after every scenario")
    options = parser.parse_args()
    found: dict[str, Counts] = {}
    for name in options.only or SCENARIOS:
        found[name] = measure(name, options.runs, options.seed, options.resamples)
        print("\n".join((name, *(f"  {line}" for line in show(found[name])))), flush=True)
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
