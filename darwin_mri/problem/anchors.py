"""Anchors of a run: a few models are scored on all search items, and the items that candidates are asked are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.benchmarks import Item
from darwin_mri.breeding import Anchored, Anchors, Estimate, ItemScores, Start, choose_anchors
from darwin_mri.config import Config
from darwin_mri.problem.fitness import Evaluator
from darwin_mri.records import AnchorItems, AnchorRecord
from darwin_mri.run import Run

RECORD = "anchors.json"
ScoresByModel = Mapping[str, ItemScores]
"""Model -> its scores on the search items."""


@dataclass(frozen=True)
class SearchItems:
    """The items a candidate is asked.

    Attributes:
        items: by benchmark, in the order asked.
        estimate: turns their scores into a fitness: that of the whole pool.
        spent: item evaluations that choosing them took.
    """

    items: Mapping[str, Sequence[Item]]
    estimate: Estimate
    spent: int = 0


def anchor(
    run: Run,
    evaluator: Evaluator,
    start: Start,
    items: Mapping[str, Sequence[Item]],
    scores: ScoresByModel,
    limits: Mapping[str, float],
) -> SearchItems:
    """Choose the anchors among the search items, or read those of a resumed run.

    Scored are the other parents and the opening of the search: the prior's mean, a step back, the father.

    Args:
        run: gets anchors.json.
        evaluator: scores the opening.
        start: of the search.
        items: the whole pool, by benchmark.
        scores: of the other parents on it.
        limits: task -> the least score a candidate may have on it.

    Returns:
        The items in the order asked, and how the pool's score is estimated from theirs.
    """
    config = run.config
    assert config.search.anchors is not None

    def make() -> AnchorRecord:
        table, whole = {model: dict(part) for model, part in scores.items()}, evaluator.on(items)
        with run.progress.stage("anchors", len(start.opening)) as advance:
            for number, vector in enumerate(start.opening):
                table[f"opening {number}"] = whole.whole(dict(zip(start.names, map(float, vector), strict=True)))
                advance(1)
        return AnchorRecord(benchmarks=tuple(_choose(name, table, config) for name in items))

    record = run.record(RECORD, AnchorRecord, make)
    chosen = {
        part.benchmark: Anchors(
            part.anchors, part.weights, np.array([part.logged[model] for model in sorted(part.logged)])
        )
        for part in record.benchmarks
    }
    anchored = {name: tuple(items[name][i] for i in anchors.items) for name, anchors in chosen.items()}
    spent = sum(anchors.logged.size for anchors in chosen.values())
    return SearchItems(anchored, Anchored(config.search.blocks, config.weights, chosen, dict(limits)), spent)


def _choose(name: str, scores: ScoresByModel, config: Config) -> AnchorItems:
    logged = {model: tuple(part[name]) for model, part in scores.items()}
    table = np.array([logged[model] for model in sorted(logged)])  # (models, items)
    anchors = choose_anchors(table, config.search.anchors or table.shape[1], config.seed)
    return AnchorItems(benchmark=name, logged=logged, anchors=anchors.items, weights=anchors.weights)
