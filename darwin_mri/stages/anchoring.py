"""Anchors of a run: score a few models on the whole pool of search items, and choose the items candidates are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.benchmarks import Item, Scorer, gold_probability, to_answers
from darwin_mri.breeding import Anchored, Anchors, ItemScores, Start, choose_anchors
from darwin_mri.config import Config
from darwin_mri.records import AnchorItems, AnchorRecord
from darwin_mri.stages.fitness import Fitness
from darwin_mri.stages.parents import Loaded
from darwin_mri.stages.run import Progress, Run

RECORD = "anchors.json"
LoggedScores = Mapping[str, ItemScores]
"""Model -> its scores on the search items."""


def log_mother(run: Run, mother: Loaded, items: Mapping[str, Sequence[Item]], progress: Progress) -> LoggedScores:
    """The mother's scores on the search items while she is in memory; nothing when no anchors are wanted, or are chosen already."""
    config = run.config
    if not config.search.anchors or (run.keep and run.path(RECORD).is_file()):
        return {}
    scorer = Scorer(mother.model, mother.tokenizer, beyond_context=config.bench.long_items == "beyond")
    scores: ItemScores = {}
    with progress.stage("mother on search items", len(items)) as advance:
        for name, part in items.items():
            found = scorer.log_probabilities(scorer.prepare(part))
            credit = (
                gold_probability(part, found) if config.search.smooth else [a.credit for a in to_answers(part, found)]
            )
            scores[name] = [float(value) for value in credit]
            advance(1)
    return {"mother": scores}


def anchor(
    run: Run,
    whole: Fitness,
    start: Start,
    items: Mapping[str, Sequence[Item]],
    logged: LoggedScores,
    progress: Progress,
) -> tuple[dict[str, tuple[Item, ...]], Anchored, int]:
    """(items in the order asked, estimate of the pool's score, item evaluations spent on logging).

    Logged are the mother and the opening of the search: the prior's mean, a step back, the father.
    """
    config = run.config
    assert config.search.anchors is not None

    def make() -> AnchorRecord:
        scores = {name: dict(part) for name, part in logged.items()}
        with progress.stage("anchors", len(start.opening)) as advance:
            for number, vector in enumerate(start.opening):
                scores[f"opening {number}"] = whole(dict(zip(start.names, map(float, vector), strict=True)))
                advance(1)
        return AnchorRecord(benchmarks=tuple(_choose(name, scores, config) for name in config.weights))

    record = run.record(RECORD, AnchorRecord, make)
    chosen = {
        part.benchmark: Anchors(
            part.anchors, part.weights, np.array([part.logged[model] for model in sorted(part.logged)])
        )
        for part in record.benchmarks
    }
    asked = {name: tuple(items[name][i] for i in anchors.items) for name, anchors in chosen.items()}
    spent = sum(anchors.logged.size for anchors in chosen.values())
    return asked, Anchored(config.search.blocks, config.weights, chosen), spent


def _choose(name: str, scores: Mapping[str, ItemScores], config: Config) -> AnchorItems:
    logged = {model: tuple(part[name]) for model, part in scores.items()}
    table = np.array([logged[model] for model in sorted(logged)])
    made = choose_anchors(table, config.search.anchors or table.shape[1], config.seed)
    return AnchorItems(benchmark=name, logged=logged, anchors=made.items, weights=made.weights)
