"""From answers to the comparison a reviewer reads: scores, paired contrasts, vigor, alerts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypedDict, Unpack

from darwin_mri.config import LimitConfig
from darwin_mri.records import Answer, BenchmarkInfo, Comparison, Protocol, Score
from darwin_mri.records.roles import null_of_role
from darwin_mri.records.score import COMPOSITE, Split
from darwin_mri.stats import StatsError
from darwin_mri.stats.alerts import find_alerts
from darwin_mri.stats.contrasts import find_contrasts, find_vigor
from darwin_mri.stats.limits import check_limits, limit_alerts
from darwin_mri.stats.paired import RESAMPLES
from darwin_mri.stats.scores import Scorekeeper
from darwin_mri.stats.table import Tables


class Options(TypedDict, total=False):
    """What ``compare`` can do without.

    Attributes:
        split: of the items, named in the scores; held-out when absent.
        benchmarks: what the benchmarks' names stand for.
        resamples: of every bootstrap and permutation.
        limits: task -> what the child must not lose on it.
    """

    split: Split
    benchmarks: tuple[BenchmarkInfo, ...]
    resamples: int
    limits: Mapping[str, LimitConfig]


def compare(
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    models: Mapping[str, tuple[str, str]],
    protocol: str | Sequence[Protocol],
    chance: Mapping[str, float | None],
    weights: Mapping[str, float],
    seed: int,
    published: tuple[Score, ...] = (),
    **options: Unpack[Options],
) -> Comparison:
    """Compare models that answered the same items under the same protocol, the child with each other model.

    Models that answered a benchmark under different protocols both get their scores and no contrast.

    Args:
        answers: ``answers[key][benchmark]`` holds one model's answers.
        models: key -> (name, role) of each model; roles are father, mother, base, child, baseline and ``null:KIND``.
        protocol: the protocols whose hashes the answers carry, or the name of the only one.
        chance: each benchmark's accuracy by guessing; None where its items have no choices.
        weights: benchmark -> weight in the composite (scaled to add up to 1; empty for no composite).
        seed: of resampling.
        published: scores to show beside the measured ones.
        **options: see ``Options``.

    Returns:
        the comparison; the same arguments give the same record.

    Raises:
        StatsError: answers cannot be paired by item key, a model is unknown, a role repeats, or a weighted benchmark is
            missing.
    """
    _check(answers, models, chance)
    benchmarks = options.get("benchmarks", ())
    tables = Tables.align(answers, seed, options.get("resamples", RESAMPLES))
    composite = _scaled(weights, tables)
    known = () if isinstance(protocol, str) else tuple(protocol)
    label = protocol if isinstance(protocol, str) else ""
    by_hash = {p.hash: p for p in known}
    units = {info.name: info.unit for info in benchmarks if info.unit}
    scorer = Scorekeeper(tables, composite, by_hash, label, chance, options.get("split", "held-out"), units)
    scores, secondary = _scores(scorer, models, answers)

    scored = {key: models[key] for key in answers}
    child = next((key for key, (_, role) in scored.items() if role == "child"), None)
    contrasts = find_contrasts(tables, composite, child, scored, units) if child else []
    vigor = find_vigor(tables, composite, {role: key for key, (_, role) in scored.items()}, contrasts)
    limits = check_limits(options.get("limits", {}), contrasts)
    alerts = find_alerts(
        scores,
        published,
        contrasts,
        COMPOSITE,
        benchmarks,
        silent={
            (scored[key][0], name): _silent(rows, scorer.protocols)
            for key, by_benchmark in answers.items()
            for name, rows in by_benchmark.items()
        },
        places={
            (scored[key][0], name): [(answer.choice, answer.gold) for answer in rows if answer.gold >= 0]
            for key, by_benchmark in answers.items()
            for name, rows in by_benchmark.items()
            if null_of_role(scored[key][1]) is None
        },
    )
    return Comparison(
        scores=(*scores, *published),
        contrasts=tuple(contrasts),
        vigor=vigor,
        alerts=(*limit_alerts(limits), *alerts),
        composite=composite,
        headline=(*tables, COMPOSITE) if composite else tuple(tables),
        secondary=tuple(secondary),
        benchmarks=benchmarks,
        protocols=tuple(p for p in known if p.hash in {score.protocol_hash for score in scores}),
        limits=limits,
    )


def _scores(
    scorer: Scorekeeper, models: Mapping[str, tuple[str, str]], answered: Collection[str]
) -> tuple[list[Score], list[Score]]:
    """Scores by the headline metrics, and by the other metrics, of every model that answered anything."""
    scores: list[Score] = []
    secondary: list[Score] = []
    for key, (model, role) in models.items():
        if key not in answered:
            continue
        for name in scorer.tables:
            table = scorer.tables.shared(name, key)
            if table is not None:
                scores += scorer.scores(table, key, model, role)
                secondary += scorer.secondary(table, key, model, role)
        if shared := scorer.tables.all_shared(scorer.composite, key):
            scores.append(scorer.composite_score(shared, key, model, role))
    return scores, secondary


def _silent(answers: Sequence[Answer], protocols: Mapping[str, Protocol]) -> tuple[float, float]:
    """Shares of generated answers in which no choice was named, and which were cut off."""
    generations = [protocols[a.protocol].generation for a in answers if a.protocol in protocols and _offers_choices(a)]
    samples = sum(generation.samples for generation in generations if generation)
    if not samples:
        return 0.0, 0.0
    named = sum(sum(answer.votes) for answer in answers)
    return 1 - named / samples, sum(answer.cut_off for answer in answers) / samples


def _offers_choices(answer: Answer) -> bool:
    """Whether the item has choices to name; files from before ``choices`` tell by their votes, one for each choice."""
    return bool(answer.choices or answer.votes)


def _check(
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    models: Mapping[str, tuple[str, str]],
    chance: Mapping[str, float | None],
) -> None:
    for key, by_benchmark in answers.items():
        if key not in models:
            raise StatsError(f"answers of '{key}' have no model: name it in models, known are {', '.join(models)}")
        for benchmark in by_benchmark:
            if benchmark not in chance:
                raise StatsError(f"benchmark '{benchmark}' has no chance level: give the accuracy of guessing")
            if benchmark == COMPOSITE:
                raise StatsError("a benchmark cannot be called 'composite': that name is the weighted sum's")
    roles = [models[key][1] for key in answers]
    for role in roles:
        if roles.count(role) > 1 and role != "baseline":
            raise StatsError(f"two models have the role '{role}': compare one {role} at a time")


def _scaled(weights: Mapping[str, float], tables: Tables) -> dict[str, float]:
    if any(weight < 0 for weight in weights.values()):
        raise StatsError("composite weights must not be negative: a benchmark is added or left out")
    used = {name: weight for name, weight in weights.items() if weight > 0}
    missing = [name for name in used if name not in tables]
    if missing:
        raise StatsError(
            f"the composite weighs {', '.join(missing)}, which no model answered: score it or drop its weight"
        )
    total = sum(used.values())
    return {name: weight / total for name, weight in used.items()}
