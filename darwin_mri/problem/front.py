"""The front of a search with several objectives: who is in it, who becomes the child, and what it is shown beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from darwin_mri.benchmarks import Item, open_grader
from darwin_mri.config import Config
from darwin_mri.problem.fitness import Evaluator, item_scores, open_scorer
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import FrontMember, FrontReference, LedgerLine
from darwin_mri.records.roles import FATHER
from darwin_mri.run import Progress
from darwin_mri.stats.domination import choose, non_dominated, thin
from darwin_mri.translation import later

TaskScores = dict[str, float]
"""Task -> score."""
ScoresByLine = Mapping[int, TaskScores]
"""Number of an evaluation -> scores."""


def find_front(lines: Sequence[LedgerLine], config: Config) -> tuple[LedgerLine, ...]:
    """The candidates that no other one dominates on search items, among those that keep the limits.

    Args:
        lines: distinct candidates that were scored on all items.
        config: says the objectives, and how many members there may be; the most crowded are left out.

    Returns:
        The members by their first objective, highest first; the one that breaks its limits least where none keeps them.
    """
    kept = [line for line in lines if line.violation <= 0] or [min(lines, key=lambda line: line.violation)]
    kept.sort(key=lambda line: line.evaluation)
    points = _points(kept, {line.evaluation: line.scores for line in kept}, config)
    front = np.flatnonzero(non_dominated(points))
    chosen = front[thin(points[front], config.search.front)]
    return tuple(kept[i] for i in sorted(chosen, key=lambda i: (-points[i, 0], kept[i].evaluation)))


def choose_member(front: Sequence[LedgerLine], fresh: ScoresByLine, config: Config) -> LedgerLine:
    """The member that becomes the child.

    Args:
        front: the members.
        fresh: their scores on fresh search items; those on search items count where there are none left.
        config: says whether by the knee rule or by weights.

    Returns:
        The member.
    """
    scores = fresh or {line.evaluation: line.scores for line in front}
    prefer = config.search.prefer
    weights = config.weights if prefer == "knee" else prefer
    by_objective = [weights.get(name, 0.0) for name in config.weights]
    return front[choose(_points(front, scores, config), by_objective, by_knee=prefer == "knee")]


def _points(lines: Sequence[LedgerLine], scores: ScoresByLine, config: Config) -> np.ndarray:
    """Scores as (lines, objectives)."""
    return np.array([[scores[line.evaluation][name] for name in config.weights] for line in lines])


KNEE_FRESH = later("the knee of the front on fresh search items")
KNEE = later("the knee of the front on search items, no fresh ones being left")


def describe_preference(config: Config, fresh: ScoresByLine) -> str:
    """How the child was chosen, in words."""
    if config.search.prefer == "knee":
        return KNEE_FRESH if fresh else KNEE
    items = "on fresh search items" if fresh else "on search items, no fresh ones being left"
    weights = ", ".join(f"{name} {weight:g}" for name, weight in config.search.prefer.items())
    return f"the best weighted sum ({weights}) {items}"


def front_members(
    front: Sequence[LedgerLine], fresh: ScoresByLine, held_out: ScoresByLine, space: MergeSpace, layers: int
) -> tuple[FrontMember, ...]:
    """The members as the genome's record holds them.

    Args:
        front: in order.
        fresh: scores on fresh items, by evaluation.
        held_out: scores on held-out items, by evaluation.
        space: with the genome that was searched.
        layers: of the father.

    Returns:
        The members, numbered from 1.
    """
    return tuple(
        FrontMember(
            number=number,
            evaluation=line.evaluation,
            genes=space.written_genes(line.genes),
            ratios=space.genome.ffn_ratios(line.genes, layers),
            exceptions={name: dict(own) for name, own in (space.exceptions(line.genes) or {}).items()},
            search=line.scores,
            fresh=fresh.get(line.evaluation, {}),
            held_out=held_out.get(line.evaluation, {}),
        )
        for number, line in enumerate(front, 1)
    )


def score_references(
    parents: Parents,
    space: MergeSpace,
    nulls: Mapping[str, Mapping[str, float]],
    items: Mapping[str, Sequence[Item]],
    progress: Progress,
) -> tuple[FrontReference, ...]:
    """Parents and null children on the items that the members are shown on, scored as the members are.

    Args:
        parents: the father is resident, with its own weights before and after; the others are loaded one by one.
        space: with the genome that was searched.
        nulls: null genomes by kind.
        items: by task.
        progress: where the work reports.

    Returns:
        The parents, then the null children; nothing where a task has no items.
    """
    if not all(items.values()):
        return ()
    config, found = parents.config, []

    def add_parent(role: str) -> None:
        scorer = open_scorer(parents.model(role), config)
        scores = {
            name: item_scores(open_grader(part, scorer), range(len(part)), smooth=config.search.smooth)
            for name, part in items.items()
        }
        found.append(FrontReference(role=role, held_out=means(scores)))

    with progress.stage("parents and nulls beside the front", len(parents.sources) + len(nulls)) as advance:
        add_parent(FATHER)
        advance(1)
        for kind, genes in nulls.items():
            evaluator = Evaluator(config, parents.father, space.for_null(kind))
            found.append(FrontReference(role="null", null=kind, held_out=means(evaluator.on(items)(genes))))
            evaluator.candidate.restore()
            evaluator.stop()
            advance(1)
        for role in parents.others:
            with parents.on_device(role):
                add_parent(role)
            parents.release_others()
            advance(1)
    return tuple(sorted(found, key=lambda reference: reference.null is not None))


def hypervolume(points: Sequence[TaskScores], parents: Sequence[TaskScores]) -> float | None:
    """What a front dominates above the worst parent of every objective (Zitzler and Thiele 1999).

    Args:
        points: held-out scores of its members.
        parents: those of the parents, with the same objectives.

    Returns:
        A share of the box from the worst to the best parent of each objective: 1 is a child as good as the best parent
        in all of them, more is possible. None where that box is empty, or a score is missing.
    """
    from darwin_mri.breeding.fronts import dominated  # needs the extra [pareto], as a search for a front does

    if not points or not parents or not all(points):
        return None
    names = list(parents[0])
    corners, values = (np.array([[own[name] for name in names] for own in table]) for table in (parents, points))
    worst, sides = corners.min(axis=0), np.ptp(corners, axis=0)  # (objectives,)
    if not sides.min() > 0:
        return None
    return dominated((values - worst) / sides)


def means(scores: Mapping[str, Sequence[float]]) -> TaskScores:
    """Score by task from those of its items."""
    return {name: float(np.mean(values)) for name, values in scores.items()}
