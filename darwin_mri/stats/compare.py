"""From answers to the comparison a reviewer reads: scores, paired contrasts, vigor, alerts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from darwin_mri.records import Answer, Comparison, Contrast, Score, Vigor
from darwin_mri.stats import StatsError
from darwin_mri.stats.alerts import find_alerts
from darwin_mri.stats.intervals import Interval, clustered_interval, wilson
from darwin_mri.stats.paired import (
    RESAMPLES,
    ClusterTotals,
    Floats,
    composite_detectable,
    effects,
    holm,
    mcnemar_exact,
    percentile_interval,
    sign_flip_p_value,
)
from darwin_mri.stats.table import Table, generator
from darwin_mri.stats.vigor import judge_vigor

COMPOSITE = "composite"
Split = Literal["held-out", "search", "full", "unknown"]


def compare(
    answers: Mapping[str, Mapping[str, Sequence[Answer]]],
    models: Mapping[str, tuple[str, str]],
    protocol: str,
    chance: Mapping[str, float],
    weights: Mapping[str, float],
    seed: int,
    published: tuple[Score, ...] = (),
    *,
    split: Split = "held-out",
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare models that answered the same items, the child with each other model.

    ``answers[key][benchmark]`` holds one model's answers, ``models[key]`` its (name, role); roles are father, mother, base,
    child, baseline and ``null:NAME``. ``chance`` gives each benchmark's accuracy by guessing, ``weights`` the composite's
    weights (scaled to add up to 1; empty for no composite), ``published`` scores to show beside the measured ones.
    ``split`` names the items' split in the scores. The same arguments give the same record. Raises StatsError when answers
    cannot be paired by item key, a model is unknown, a role repeats, or a weighted benchmark is missing.
    """
    _check(answers, models, chance)
    benchmarks = list(dict.fromkeys(benchmark for by_benchmark in answers.values() for benchmark in by_benchmark))
    tables = {
        name: Table.align(name, {key: by[name] for key, by in answers.items() if name in by}, seed, resamples)
        for name in benchmarks
    }
    composite = _scaled(weights, tables)

    scores: list[Score] = []
    for key, (model, role) in models.items():
        if key not in answers:
            continue
        for name, table in tables.items():
            if key in table.models:
                scores += _scores(table, key, model, role, protocol, chance[name], split)
        if composite and all(key in tables[name].models for name in composite):
            scores.append(_composite_score(tables, composite, key, model, role, protocol, chance, split))

    child = next((key for key in answers if models[key][1] == "child"), None)
    # a run may have several baselines, so these go by name
    labels = {key: models[key][0] if models[key][1] == "baseline" else models[key][1] for key in answers}
    contrasts = _contrasts(tables, composite, child, labels) if child else []
    vigor = _vigor(tables, composite, {models[key][1]: key for key in answers}, contrasts)
    headline = (*tables, COMPOSITE) if composite else tuple(tables)
    return Comparison(
        scores=(*scores, *published),
        contrasts=tuple(contrasts),
        vigor=vigor,
        alerts=find_alerts(scores, published, contrasts, COMPOSITE),
        composite=composite,
        headline=headline,
    )


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


def _scaled(weights: Mapping[str, float], tables: Mapping[str, Table]) -> dict[str, float]:
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


def _scores(table: Table, key: str, model: str, role: str, protocol: str, chance: float, split: Split) -> list[Score]:
    credits = table.credits[:, table.column(key)]
    found: list[Score] = []
    for name, rows in {"all": list(range(table.n)), **table.slices()}.items():
        totals = ClusterTotals.of(credits[rows], [table.clusters[row] for row in rows])
        low, high = _interval(totals)
        expected = chance if name == "all" else _slice_chance(table, rows, chance)
        score = Score(
            model=model, role=role, benchmark=table.benchmark, slice=name, evidence="measured", protocol=protocol,
            correct=round(float(totals.sums.sum()), 9), n=totals.n, clusters=len(totals.sizes), value=float(totals.means),
            low=low, high=high, chance=expected, split=split,
        )  # fmt: skip
        found.append(score)
    return found


def _interval(totals: ClusterTotals) -> Interval:
    if (totals.sizes == 1).all():
        return wilson(float(totals.sums.sum()), totals.n)
    return clustered_interval(totals.sums, totals.sizes)


def _slice_chance(table: Table, rows: Sequence[int], chance: float) -> float:
    """Slices may offer other numbers of choices than the whole (MuSR 2 to 5): count them where they are known."""
    choices = [len(table.items[row].log_probabilities) for row in rows]
    return sum(1 / count for count in choices) / len(choices) if min(choices) > 1 else chance


def _composite_score(
    tables: Mapping[str, Table],
    composite: Mapping[str, float],
    key: str,
    model: str,
    role: str,
    protocol: str,
    chance: Mapping[str, float],
    split: Split,
) -> Score:
    value = _composite_mean(tables, composite, key)
    low, high = percentile_interval(_composite_samples(tables, composite, key), value)
    if high - low < 1e-12:  # every resample alike: the benchmarks' own intervals still have a width
        bounds = {name: _interval(_one(tables[name], key)) for name in composite}
        low = sum(weight * bounds[name][0] for name, weight in composite.items())
        high = sum(weight * bounds[name][1] for name, weight in composite.items())
    return Score(
        model=model, role=role, benchmark=COMPOSITE, slice="all", evidence="measured", protocol=protocol, correct=None,
        n=sum(tables[name].n for name in composite), clusters=sum(len(tables[name].totals.sizes) for name in composite),
        value=value, low=max(0.0, low), high=min(1.0, high),
        chance=sum(weight * chance[name] for name, weight in composite.items()), split=split,
    )  # fmt: skip


def _one(table: Table, key: str) -> ClusterTotals:
    return ClusterTotals(table.totals.sums[:, table.column(key)], table.totals.sizes)


def _composite_mean(tables: Mapping[str, Table], composite: Mapping[str, float], key: str) -> float:
    return sum(weight * tables[name].mean(key) for name, weight in composite.items())


def _composite_samples(tables: Mapping[str, Table], composite: Mapping[str, float], key: str) -> Floats:
    parts = [weight * tables[name].resampled[:, tables[name].column(key)] for name, weight in composite.items()]
    return sum(parts[1:], start=parts[0])


def _contrasts(
    tables: Mapping[str, Table], composite: Mapping[str, float], child: str, labels: Mapping[str, str]
) -> list[Contrast]:
    order = {"father": 0, "mother": 1, "base": 2}
    others = sorted((key for key in labels if key != child), key=lambda key: order.get(labels[key], 3))
    found: list[Contrast] = []
    for other in others:
        for table in tables.values():
            if child in table.models and other in table.models:
                found.append(_contrast([table], {table.benchmark: 1.0}, table.benchmark, child, other, labels[other]))
        if composite and all({child, other} <= set(tables[name].models) for name in composite):
            chosen = [tables[name] for name in composite]
            found.append(_contrast(chosen, composite, COMPOSITE, child, other, labels[other]))

    family = [
        index
        for index, contrast in enumerate(found)
        if contrast.name in ("child - father", "child - mother")
        and (contrast.benchmark == COMPOSITE or contrast.benchmark in composite)
    ]
    for index, adjusted in zip(family, holm(found[index].p_value for index in family), strict=True):
        found[index] = found[index].model_copy(update={"p_holm": adjusted})
    return found


def _contrast(
    tables: Sequence[Table], weights: Mapping[str, float], benchmark: str, child: str, other: str, label: str
) -> Contrast:
    parts = [(table.difference(child, other), weights[table.benchmark]) for table in tables]
    by_name = {table.benchmark: table for table in tables}
    difference = _composite_mean(by_name, weights, child) - _composite_mean(by_name, weights, other)
    samples = _composite_samples(by_name, weights, child) - _composite_samples(by_name, weights, other)
    low, high = percentile_interval(samples, difference)
    counts = [table.wins_and_losses(child, other) for table in tables]
    wins, losses = sum(won for won, _ in counts), sum(lost for _, lost in counts)
    rng = generator(tables[0].seed, benchmark, "flips")
    return Contrast(
        name=f"child - {label}", benchmark=benchmark, difference=difference, low=low, high=high,
        p_value=sign_flip_p_value(effects(parts), rng, resamples=tables[0].resamples), p_holm=None,
        p_mcnemar=mcnemar_exact(wins, losses), n=sum(table.n for table in tables), wins=wins, losses=losses,
        detectable=composite_detectable(parts),
    )  # fmt: skip


def _vigor(
    tables: Mapping[str, Table], composite: Mapping[str, float], keys: Mapping[str, str], contrasts: Sequence[Contrast]
) -> Vigor | None:
    intervals = {contrast.name: contrast for contrast in contrasts if contrast.benchmark == COMPOSITE}
    if not {"child - father", "child - mother"} <= intervals.keys():
        return None
    p_values: dict[str, float] = {}
    for parent in ("father", "mother"):
        parts = [(tables[name].difference(keys["child"], keys[parent]), weight) for name, weight in composite.items()]
        first = tables[next(iter(composite))]
        rng = generator(first.seed, COMPOSITE, "vigor")
        p_values[parent] = sign_flip_p_value(effects(parts), rng, "greater", first.resamples)
    scores = {role: _composite_mean(tables, composite, keys[role]) for role in ("child", "father", "mother")}
    return judge_vigor(scores, p_values, {parent: intervals[f"child - {parent}"] for parent in ("father", "mother")})
