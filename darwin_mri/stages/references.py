"""Stage ``references``: what parents are measured for before a search, while they are in memory."""

from __future__ import annotations

from darwin_mri.benchmarks import open_grader
from darwin_mri.breeding import ItemScores
from darwin_mri.problem.anchors import RECORD as ANCHORS
from darwin_mri.problem.anchors import ScoresByModel
from darwin_mri.problem.fitness import item_scores, open_scorer
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.targets import find_targets
from darwin_mri.records import References
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Run

RECORD = "references.json"


def measure_references(run: Run, parents: Parents) -> ScoresByModel:
    """The predictions that tasks of agreement compare with, and the parents' scores on the search items.

    Scores are needed of every parent beside the father where anchors are chosen, and of the parents that limits name.

    Args:
        run: gets state/targets and references.json, where they are needed.
        parents: in memory; their items have targets afterwards.

    Returns:
        Role -> scores by task; nothing where no scores are needed.
    """
    config = run.config
    find_targets(run, parents)
    named = {limit.against for limit in config.limits.values()}
    if config.search.anchors and not run.has(ANCHORS):
        named |= set(parents.others)
    if not named:
        return {}

    def make() -> References:
        scores: dict[str, dict[str, tuple[float, ...]]] = {}
        for role in parents.sources:
            if role in named:
                scores[role] = {name: tuple(part) for name, part in _score(run, parents, role).items()}
        return References(scores=scores)

    kept = run.record(RECORD, References, make).scores
    return {role: {name: list(part) for name, part in scores.items()} for role, scores in kept.items()}


def _score(run: Run, parents: Parents, role: str) -> ItemScores:
    """A parent's scores on the search items; it is let go of afterwards where parents are loaded one at a time."""
    scorer, table = open_scorer(parents.model(role), run.config), ItemScores()
    items = parents.items.search
    with run.progress.stage(f"{role} on search items", len(items)) as advance:
        for name, part in items.items():
            table[name] = item_scores(open_grader(part, scorer), range(len(part)), smooth=run.config.search.smooth)
            advance(1)
    del scorer
    if role != FATHER:
        parents.release(role)
    return table
