"""Stage ``anchors``: the other parents' scores on the search items, while they are in memory."""

from __future__ import annotations

from darwin_mri.benchmarks import open_grader
from darwin_mri.breeding import ItemScores
from darwin_mri.problem.anchors import RECORD, ScoresByModel
from darwin_mri.problem.fitness import item_scores, open_scorer
from darwin_mri.problem.parents import Parents
from darwin_mri.run import Run


def score_others(run: Run, parents: Parents) -> ScoresByModel:
    """Score every parent beside the father on the search items.

    Args:
        run: says whether anchors are wanted.
        parents: in memory.

    Returns:
        Role -> scores; nothing where no anchors are wanted, or they are chosen already.
    """
    config, scores = run.config, {}
    if not config.search.anchors or run.has(RECORD):
        return {}
    items = parents.items.search
    for role in parents.others:
        scorer, table = open_scorer(parents.model(role), config), ItemScores()
        with run.progress.stage(f"{role} on search items", len(items)) as advance:
            for name, part in items.items():
                table[name] = item_scores(open_grader(part, scorer), range(len(part)), smooth=config.search.smooth)
                advance(1)
        scores[role] = table
        del scorer
        parents.release(role)
    return scores
