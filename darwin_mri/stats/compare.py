"""From answers to the comparison a reviewer reads: scores, paired contrasts, vigor, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import Answer, BenchmarkInfo, Comparison, Protocol, Score
from darwin_mri.stats import StatsError
from darwin_mri.stats.alerts import find_alerts
from darwin_mri.stats.contrasts import find_contrasts, find_vigor
from darwin_mri.stats.paired import RESAMPLES
from darwin_mri.stats.scores import COMPOSITE, Scorekeeper, Split
from darwin_mri.stats.table import Tables


def compare(
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    models: Mapping[str, tuple[str, str]],
    protocol: str | Sequence[Protocol],
    chance: Mapping[str, float],
    weights: Mapping[str, float],
    seed: int,
    published: tuple[Score, ...] = (),
    *,
    split: Split = "held-out",
    benchmarks: tuple[BenchmarkInfo, ...] = (),
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare models that answered the same items under the same protocol, the child with each other model.

    ``answers[key][benchmark]`` holds one model's answers, ``models[key]`` its (name, role); roles are father, mother, base,
    child, baseline and ``null:NAME``. ``protocol`` holds the protocols whose hashes the answers carry, or the name of the only
    one. ``chance`` gives each benchmark's accuracy by guessing, ``weights`` the composite's weights (scaled to add up to 1; empty
    for no composite), ``published`` scores to show beside the measured ones, ``benchmarks`` what the benchmarks' names stand for.
    ``split`` names the items' split in the scores. The same arguments give the same record.

    Models that sat a benchmark under different protocols both get their scores and no contrast. Raises StatsError when answers
    cannot be paired by item key, a model is unknown, a role repeats, or a weighted benchmark is missing.
    """
    _check(answers, models, chance)
    tables = Tables.align(answers, seed, resamples)
    composite = _scaled(weights, tables)
    known = () if isinstance(protocol, str) else tuple(protocol)
    scorer = Scorekeeper(
        tables, composite, {p.hash: p for p in known}, protocol if isinstance(protocol, str) else "", chance, split
    )

    scores: list[Score] = []
    secondary: list[Score] = []
    for key, (model, role) in models.items():
        if key not in answers:
            continue
        for name in tables:
            table = tables.shared(name, key)
            if table is not None:
                scores += scorer.scores(table, key, model, role)
                secondary += scorer.secondary(table, key, model, role)
        if mine := tables.all_shared(composite, key):
            scores.append(scorer.composite_score(mine, key, model, role))

    child = next((key for key in answers if models[key][1] == "child"), None)
    # a run may have several baselines, so these go by name
    labels = {key: models[key][0] if models[key][1] == "baseline" else models[key][1] for key in answers}
    contrasts = find_contrasts(tables, composite, child, labels) if child else []
    vigor = find_vigor(tables, composite, {models[key][1]: key for key in answers}, contrasts)
    headline = (*tables, COMPOSITE) if composite else tuple(tables)
    silent = {
        (models[key][0], name): _silent(given, scorer.protocols)
        for key, by_benchmark in answers.items()
        for name, given in by_benchmark.items()
    }
    places = {
        (models[key][0], name): [(answer.choice, answer.gold) for answer in given]
        for key, by_benchmark in answers.items()
        for name, given in by_benchmark.items()
        if not models[key][1].startswith("null:")
    }
    return Comparison(
        scores=(*scores, *published),
        contrasts=tuple(contrasts),
        vigor=vigor,
        alerts=find_alerts(scores, published, contrasts, COMPOSITE, benchmarks, silent, places),
        composite=composite,
        headline=headline,
        secondary=tuple(secondary),
        benchmarks=benchmarks,
        protocols=tuple(p for p in known if p.hash in {score.protocol_hash for score in scores}),
    )


def _silent(answers: Sequence[Answer], protocols: Mapping[str, Protocol]) -> float:
    """Share of generated answers in which no choice was named."""
    asked = [protocols[a.protocol].generation for a in answers if a.protocol in protocols]
    samples = sum(generation.samples for generation in asked if generation)
    return 1 - sum(sum(answer.votes) for answer in answers) / samples if samples else 0.0


def _check(
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    models: Mapping[str, tuple[str, str]],
    chance: Mapping[str, float],
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
            f"the composite weighs {', '.join(missing)}, which nobody answered: score it or drop its weight"
        )
    total = sum(used.values())
    return {name: weight / total for name, weight in used.items()}
