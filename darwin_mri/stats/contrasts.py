"""The child against each other model, paired on items, and whether it beats both parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darwin_mri.records import Contrast, Vigor
from darwin_mri.stats.intervals import wilson
from darwin_mri.stats.paired import (
    composite_detectable,
    effects,
    holm,
    mcnemar_exact,
    percentile_interval,
    sign_flip_p_value,
)
from darwin_mri.stats.scores import COMPOSITE, composite_mean, composite_samples, least_clusters
from darwin_mri.stats.table import Table, Tables, generator
from darwin_mri.stats.vigor import judge_vigor


def find_contrasts(
    tables: Tables, composite: Mapping[str, float], child: str, labels: Mapping[str, str]
) -> list[Contrast]:
    """The child minus each other model where both sat a benchmark under one protocol; Holm over the declared family."""
    order = {"father": 0, "mother": 1, "base": 2}
    others = sorted((key for key in labels if key != child), key=lambda key: order.get(labels[key], 3))
    found: list[Contrast] = []
    for other in others:
        for name in tables:
            if (table := tables.shared(name, child, other)) is not None:
                found.append(_contrast([table], {name: 1.0}, name, child, other, labels[other]))
        if both := tables.all_shared(composite, child, other):
            found.append(_contrast(list(both.values()), composite, COMPOSITE, child, other, labels[other]))

    # A composite of one benchmark asks that benchmark's question again: both count as one and share its answer.
    asked = {COMPOSITE, *composite} if len(composite) > 1 else {COMPOSITE}
    parents = [i for i, contrast in enumerate(found) if contrast.name in ("child - father", "child - mother")]
    family = [i for i in parents if found[i].benchmark in asked]
    adjusted = dict(zip(family, holm(found[i].p_value for i in family), strict=True))
    answered = {found[i].name: p for i, p in adjusted.items()} if len(composite) == 1 else {}
    for i in parents:
        if i in adjusted or found[i].benchmark in composite:
            p_holm = adjusted.get(i, answered.get(found[i].name))
            found[i] = found[i].model_copy(update={"p_holm": p_holm})
    return found


def _contrast(
    tables: Sequence[Table], weights: Mapping[str, float], benchmark: str, child: str, other: str, label: str
) -> Contrast:
    parts = [(table.difference(child, other), weights[table.benchmark]) for table in tables]
    by_name = {table.benchmark: table for table in tables}
    difference = composite_mean(by_name, weights, child) - composite_mean(by_name, weights, other)
    samples = composite_samples(by_name, weights, child) - composite_samples(by_name, weights, other)
    clusters = least_clusters(tables)
    low, high = percentile_interval(samples, difference, clusters=clusters)
    if high - low < 1e-12:  # every resample alike: clusters that all agree cannot exclude that a few others do not
        half = wilson(0, clusters)[1]
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
    counts = [table.wins_and_losses(child, other) for table in tables]
    wins, losses = sum(won for won, _ in counts), sum(lost for _, lost in counts)
    rng = generator(tables[0].seed, benchmark, "flips")
    return Contrast(
        name=f"child - {label}", benchmark=benchmark, difference=difference, low=low, high=high,
        p_value=sign_flip_p_value(effects(parts), rng, resamples=tables[0].resamples), p_holm=None,
        p_mcnemar=mcnemar_exact(wins, losses), n=sum(table.n for table in tables), wins=wins, losses=losses,
        detectable=composite_detectable(parts),
    )  # fmt: skip


def find_vigor(
    tables: Tables, composite: Mapping[str, float], keys: Mapping[str, str], contrasts: Sequence[Contrast]
) -> Vigor | None:
    """Heterosis on the composite; None without both parents, a child and a composite that all three share."""
    intervals = {contrast.name: contrast for contrast in contrasts if contrast.benchmark == COMPOSITE}
    if not {"child - father", "child - mother"} <= intervals.keys():
        return None
    mine = tables.all_shared(composite, *(keys[role] for role in ("child", "father", "mother")))
    if mine is None:  # the parents answered under different protocols
        return None
    p_values: dict[str, float] = {}
    for parent in ("father", "mother"):
        parts = [(mine[name].difference(keys["child"], keys[parent]), weight) for name, weight in composite.items()]
        first = mine[next(iter(composite))]
        rng = generator(first.seed, COMPOSITE, "vigor")
        p_values[parent] = sign_flip_p_value(effects(parts), rng, "greater", first.resamples)
    scores = {role: composite_mean(mine, composite, keys[role]) for role in ("child", "father", "mother")}
    return judge_vigor(scores, p_values, {parent: intervals[f"child - {parent}"] for parent in ("father", "mother")})
