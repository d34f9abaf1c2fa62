"""The child against each other model, paired on items, and whether it beats both parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darwin_mri import seeds
from darwin_mri.records import Contrast, Vigor
from darwin_mri.records.roles import CHILD_MINUS, PARENTS, Other, null_of_role
from darwin_mri.records.score import COMPOSITE
from darwin_mri.stats.intervals import wilson
from darwin_mri.stats.paired import (
    composite_detectable,
    difference_interval,
    effects,
    holm,
    mcnemar_exact,
    sign_flip_p_value,
)
from darwin_mri.stats.scores import common_unit, composite_mean
from darwin_mri.stats.table import Table, Tables
from darwin_mri.stats.vigor import judge_vigor

_ORDER: tuple[Other, ...] = (*PARENTS, "base")  # all others follow in the order given


@dataclass(frozen=True)
class _Opponent:
    """The other model of a contrast.

    Attributes:
        key: of its answers.
        other: what it is.
        null: kind of null child, else None.
        model: its name.
        label: what the contrast's name calls it; a run may have several baselines, so these go by their names.
    """

    key: str
    other: Other
    null: str | None
    model: str
    label: str

    @classmethod
    def of(cls, key: str, model: str, role: str) -> _Opponent:
        """The other model of a contrast, from its role."""
        null = null_of_role(role)
        if null is not None:
            return cls(key, "null", null, model, role)
        for other in _ORDER:
            if other == role:
                return cls(key, other, None, model, role)
        return cls(key, "baseline", None, model, model if role == "baseline" else role)


def find_contrasts(
    tables: Tables,
    composite: Mapping[str, float],
    child: str,
    models: Mapping[str, tuple[str, str]],
    units: Mapping[str, str],
) -> list[Contrast]:
    """The child minus each other model where both answered a benchmark under one protocol.

    Args:
        tables: paired answers, by benchmark and protocol.
        composite: benchmark -> weight in the composite.
        child: key of the child's answers.
        models: key -> (name, role) of every model with answers, the child among them.
        units: benchmark -> unit of its scores; those that are fractions have none.

    Returns:
        the contrasts, parents first, with Holm's correction over the declared family: all parents, on the composite
        and on each of its benchmarks.
    """
    opponents = [_Opponent.of(key, *model) for key, model in models.items() if key != child]
    opponents.sort(key=lambda one: _ORDER.index(one.other) if one.other in _ORDER else len(_ORDER))
    contrasts: list[Contrast] = []
    for opponent in opponents:
        for name in tables:
            if (table := tables.shared(name, child, opponent.key)) is not None:
                contrasts.append(_contrast([table], {name: 1.0}, name, (child, opponent), units))
        if shared := tables.all_shared(composite, child, opponent.key):
            contrasts.append(_contrast(list(shared.values()), composite, COMPOSITE, (child, opponent), units))

    # A composite of one benchmark asks that benchmark's question again: both count as one and share its answer.
    tested = {COMPOSITE, *composite} if len(composite) > 1 else {COMPOSITE}
    parents = [i for i, contrast in enumerate(contrasts) if contrast.against_parent]
    family = [i for i in parents if contrasts[i].benchmark in tested]
    adjusted = dict(zip(family, holm(contrasts[i].p_value for i in family), strict=True))
    by_parent = {contrasts[i].other: p for i, p in adjusted.items()} if len(composite) == 1 else {}
    for i in parents:
        if i in adjusted or contrasts[i].benchmark in composite:
            p_holm = adjusted.get(i, by_parent.get(contrasts[i].other))
            contrasts[i] = contrasts[i].model_copy(update={"p_holm": p_holm})
    return contrasts


def _contrast(
    tables: Sequence[Table],
    weights: Mapping[str, float],
    benchmark: str,
    models: tuple[str, _Opponent],
    units: Mapping[str, str],
) -> Contrast:
    child, opponent = models
    other = opponent.key
    shares = [table.benchmark not in units for table in tables]
    parts = [(table.difference(child, other), weights[table.benchmark]) for table in tables]
    by_name = {table.benchmark: table for table in tables}
    difference = composite_mean(by_name, weights, child) - composite_mean(by_name, weights, other)
    low, high = difference_interval(parts)
    if all(shares):
        if high - low < 1e-12:  # clusters that all agree cannot exclude that a few others do not
            half = wilson(0, min(len(table.totals.sizes) for table in tables))[1]
            low, high = difference - half, difference + half
        low, high = max(-1.0, low), min(1.0, high)
    counts = [table.wins_and_losses(child, other) for table in tables]
    wins, losses = sum(won for won, _ in counts), sum(lost for _, lost in counts)
    rng = seeds.named(tables[0].seed, benchmark, "flips")
    return Contrast(
        name=f"{CHILD_MINUS}{opponent.label}",
        benchmark=benchmark,
        difference=difference,
        low=low,
        high=high,
        p_value=sign_flip_p_value(effects(parts), rng, resamples=tables[0].resamples),
        p_holm=None,
        p_mcnemar=mcnemar_exact(wins, losses),
        n=sum(table.n for table in tables),
        wins=wins,
        losses=losses,
        detectable=composite_detectable(parts, shares),
        other=opponent.other,
        null=opponent.null,
        model=opponent.model,
        unit="" if all(shares) else common_unit(units.get(table.benchmark, "") for table in tables),
    )


def find_vigor(
    tables: Tables, composite: Mapping[str, float], keys: Mapping[str, str], contrasts: Sequence[Contrast]
) -> Vigor | None:
    """Heterosis on the composite.

    Args:
        tables: paired answers, by benchmark and protocol.
        composite: benchmark -> weight in the composite.
        keys: role -> key of its answers.
        contrasts: of the child with each other model.

    Returns:
        the judgement; None without two parents, a child and a composite that all answered under one protocol.
    """
    by_parent: dict[Other, Contrast] = {c.other: c for c in contrasts if c.benchmark == COMPOSITE and c.against_parent}
    parents = [role for role in PARENTS if role in keys]
    if len(parents) < 2 or len(by_parent) < len(parents):
        return None
    shared = tables.all_shared(composite, *(keys[role] for role in ("child", *parents)))
    if shared is None:  # the parents answered under different protocols
        return None
    p_values: dict[str, float] = {}
    for parent in parents:
        parts = [(shared[name].difference(keys["child"], keys[parent]), weight) for name, weight in composite.items()]
        first = shared[next(iter(composite))]
        rng = seeds.named(first.seed, COMPOSITE, "vigor")
        p_values[parent] = sign_flip_p_value(effects(parts), rng, "greater", first.resamples)
    scores = {role: composite_mean(shared, composite, keys[role]) for role in ("child", *parents)}
    return judge_vigor(scores, p_values, by_parent)
