"""From cells to verdicts: every hypothesis with its figures, their intervals, and yes, no, or not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from darwin_mri import seeds
from darwin_mri.benchmarks import ChoiceItem
from darwin_mri.mri.prediction import halved_correlation
from darwin_mri.stats.paired import (
    ClusterTotals,
    bootstrap_means,
    effects,
    holm,
    percentile_interval,
    sign_flip_p_value,
)
from proving.methods.cells import Cell
from proving.methods.figures import spearman
from proving.methods.rows import BASELINE, PRIOR
from proving.study.plan import LEVEL, Plan
from proving.study.rows import (
    CHANNELS,
    CROSSED,
    CROSSED_NULLS,
    NULLS,
    TOLERANCES,
    WORTH,
    frozen_name,
    search_name,
)

Unit = tuple[int, int]
"""(seed, number of specialists)."""
Measured = Mapping[Unit, Mapping[str, Cell]]
NAMES = ("H1", "H2", "H3", "H4", "H5", "H6")
RHO = 0.7
RESAMPLES = 2_000  # of genes


@dataclass(frozen=True)
class Contrast:
    """One row against another on the same held-out items.

    Attributes:
        hypothesis: that it belongs to.
        count: of specialists.
        row: that should be better.
        other: that it is compared with.
        decides: whether the hypothesis hangs on it; else it is a null that the row must beat as well.
    """

    hypothesis: str
    count: int
    row: str
    other: str
    decides: bool = True


def contrasts(plan: Plan) -> Iterator[Contrast]:
    """All contrasts of H1 and H2."""
    for count in plan.counts:
        yield Contrast("H1", count, PRIOR, BASELINE)
        for null in NULLS:
            yield Contrast("H1", count, PRIOR, null, decides=False)
        for budget in plan.budgets:
            own = search_name("response", budget)
            yield Contrast("H2", count, own, search_name("flat", budget))
            yield Contrast("H2", count, own, search_name("random", budget))
            yield Contrast("H2", count, own, BASELINE, decides=False)


def later_contrasts(plan: Plan) -> Iterator[Contrast]:
    """All contrasts of H6, on the later seeds."""
    for count in plan.counts:
        yield Contrast("H6", count, CROSSED, BASELINE)
        for null in CROSSED_NULLS:
            yield Contrast("H6", count, CROSSED, null, decides=False)
        yield Contrast("H6", count, CROSSED, PRIOR, decides=False)


def judge(plan: Plan, measured: Measured, items: Mapping[Unit, Sequence[ChoiceItem]]) -> dict[str, Any]:
    """Every figure of the page.

    Args:
        plan: what was to be measured.
        measured: (seed, specialists) -> row -> cell.
        items: (seed, specialists) -> the held-out items, in the order of the credits.

    Returns:
        JSON values: ``scores``, ``contrasts`` (a Holm family over H1 and H2, and one over H6), ``H3``, ``H4``, ``H5``,
        ``later_scores`` of the seeds of H6, and ``verdicts``, hypothesis -> "yes", "no" (both "so far" where cells
        are missing) or "not measured", with a sentence.
    """
    figures = []
    for family, used in ((contrasts(plan), plan.seeds), (later_contrasts(plan), plan.later)):
        own = [figure for contrast in family if (figure := _contrast(contrast, used, measured, items))]
        figures += [figure | {"p_holm": p} for figure, p in zip(own, holm(f["p"] for f in own), strict=True)]
    page = {
        "scores": _scores(plan.counts, plan.seeds, measured, items),
        "later_scores": _scores(plan.counts, plan.later, measured, items),
        "contrasts": figures,
        "H3": _agreement(plan, measured),
        "H4": _protection(plan, measured),
        "H5": _foretelling(plan, measured),
    }
    verdicts = _verdicts(page)
    for name in _unfinished(plan, measured):
        if verdicts[name]["verdict"] != "not measured":
            verdicts[name]["verdict"] += " so far"
    return {**page, "verdicts": verdicts}


def _unfinished(plan: Plan, measured: Measured) -> set[str]:
    """Hypotheses of which not every planned cell is measured."""

    def lacks(used: Sequence[int], counts: Sequence[int], *rows: str) -> bool:
        return any(_seeds(used, measured, count, *rows) != list(used) for count in counts)

    out = set[str]()
    for used, family in ((plan.seeds, contrasts(plan)), (plan.later, later_contrasts(plan))):
        out |= {c.hypothesis for c in family if lacks(used, (c.count,), c.row, c.other)}
    out |= {"H3", "H5"} if lacks(plan.seeds, (2,), WORTH, CHANNELS, PRIOR) else set()
    return out | ({"H4"} if lacks(plan.seeds, (2,), *map(frozen_name, TOLERANCES)) else set())


def _seeds(used: Sequence[int], measured: Measured, count: int, *rows: str) -> list[int]:
    """Seeds for which all these rows were measured."""
    return [seed for seed in used if all(row in measured.get((seed, count), {}) for row in rows)]


def _scores(
    counts: Sequence[int], used: Sequence[int], measured: Measured, items: Mapping[Unit, Sequence[ChoiceItem]]
) -> list[dict[str, Any]]:
    """Accuracy of every row, by number of specialists: over all items, by seed, and by task."""
    table = []
    for count in counts:
        rows = dict.fromkeys(row for seed in used for row in measured.get((seed, count), {}))
        for row in rows:
            known = [seed for seed in _seeds(used, measured, count, row) if measured[seed, count][row].credits]
            if not known:
                continue
            credits = {seed: np.array(measured[seed, count][row].credits) for seed in known}
            tasks: dict[str, list[float]] = {}
            for seed in known:
                for item, credit in zip(items[seed, count], credits[seed], strict=True):
                    tasks.setdefault(item.benchmark, []).append(float(credit))
            table.append(
                {
                    "count": count,
                    "row": row,
                    "accuracy": float(np.concatenate(list(credits.values())).mean()),
                    "by_seed": {str(seed): float(own.mean()) for seed, own in credits.items()},
                    "by_task": {task: float(np.mean(own)) for task, own in sorted(tasks.items())},
                    "items": sum(map(len, credits.values())),
                }
            )
    return table


def _contrast(
    contrast: Contrast, used: Sequence[int], measured: Measured, items: Mapping[Unit, Sequence[ChoiceItem]]
) -> dict[str, Any] | None:
    """Difference of accuracy with its interval and p-value; a cluster is a fact, whatever the seed."""
    known = _seeds(used, measured, contrast.count, contrast.row, contrast.other)
    if not known:
        return None
    values, clusters = [], []
    for seed in known:
        cells = measured[seed, contrast.count]
        values += list(np.array(cells[contrast.row].credits) - np.array(cells[contrast.other].credits))
        clusters += [f"{item.benchmark}:{item.cluster}" for item in items[seed, contrast.count]]
    totals = ClusterTotals.of(values, clusters)
    name = f"{contrast.hypothesis} {contrast.count} {contrast.row} {contrast.other}"
    return {**asdict(contrast), **_difference(totals, name), "items": len(values), "seeds": known}


def _difference(totals: ClusterTotals, name: str) -> dict[str, Any]:
    """A mean difference over clusters with its 95 % interval, and the p-value of sign flips."""
    estimate, rng = float(totals.means), seeds.named(1, name)
    low, high = percentile_interval(bootstrap_means(totals, rng), estimate, clusters=len(totals.sizes))
    p = sign_flip_p_value(effects([(totals, 1.0)]), rng)
    return {"difference": estimate, "low": low, "high": high, "p": p, "clusters": len(totals.sizes)}


def _agreement(plan: Plan, measured: Measured) -> list[dict[str, Any]]:
    """H3: Spearman's rho of each preset's genes with their measured worth, by seed and over seeds."""
    rows: dict[str, dict[int, tuple[np.ndarray, np.ndarray]]] = {}
    ceilings: list[float] = []
    for seed in _seeds(plan.seeds, measured, 2, WORTH, CHANNELS, PRIOR):
        cells = measured[seed, 2]
        blocks = {gene: np.array(own) for gene, own in cells[WORTH].chosen["changes"].items()}
        presets = {"response": cells[PRIOR].chosen["genes"], **cells[CHANNELS].chosen["presets"]}
        ceiling = halved_correlation(blocks, blocks, seed)[0]
        ceilings += [] if ceiling is None else [ceiling]
        for preset, genes in presets.items():
            names = [gene for gene in blocks if gene in genes]
            pair = np.array([genes[gene] for gene in names]), np.array([blocks[gene].mean() for gene in names])
            rows.setdefault(preset, {})[seed] = pair
    ceiling = float(np.mean(ceilings)) if ceilings else None
    return [{"preset": name, **_rho_figures(own, f"H3 {name}"), "ceiling": ceiling} for name, own in rows.items()]


def _foretelling(plan: Plan, measured: Measured) -> list[dict[str, Any]]:
    """H5: rho of every channel with the size of a gene's worth, against a table of depth learned on the other seeds."""
    known = _seeds(plan.seeds, measured, 2, WORTH, CHANNELS)
    if len(known) < 2:
        return []
    worth: dict[int, dict[str, float]] = {}
    places: dict[int, dict[str, tuple[Any, ...]]] = {}
    for seed in known:
        changes = measured[seed, 2][WORTH].chosen["changes"]
        worth[seed] = {gene: abs(float(np.mean(own))) for gene, own in changes.items()}
        own = measured[seed, 2][CHANNELS].chosen["places"]
        places[seed] = {gene: (place[0], place[1]) for gene, place in own.items()}
    scanned = {seed: measured[seed, 2][CHANNELS].chosen["channels"] for seed in known}
    out = []
    for name in dict.fromkeys(name for own in scanned.values() for name in own):
        pairs: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for seed in known:
            values = scanned[seed].get(name, {})
            genes = [gene for gene in values if gene in worth[seed]]
            depth = [_depth_table(worth, places, seed, places[seed][gene]) for gene in genes]
            pairs[seed] = (
                np.array([values[gene] for gene in genes]),
                np.array(depth),
                np.array([worth[seed][gene] for gene in genes]),
            )
        out.append(_against_depth(name, pairs))
    for own, adjusted in zip(out, holm(own["p"] for own in out), strict=True):
        own["p_holm"] = adjusted
    return sorted(out, key=lambda own: -own["difference"])


def _depth_table(
    worth: Mapping[int, Mapping[str, float]], places: Mapping[int, Mapping[str, Any]], seed: int, place: Any
) -> float:
    """Mean size of the worth of genes at this layer and component with the other seeds' specialists."""
    same = [worth[s][g] for s in worth if s != seed for g, where in places[s].items() if where == place]
    return float(np.mean(same)) if same else 0.0


def _against_depth(name: str, pairs: Mapping[int, tuple[np.ndarray, ...]]) -> dict[str, Any]:
    """The channel's rho, that of the depth table, and their difference with an interval over genes.

    Whether more of a channel means more worth is learned on the other seeds, as the depth table is.
    """
    rng, drawn = seeds.named(1, "H5", name), []

    whole = {seed: spearman(channel, truth) for seed, (channel, _, truth) in pairs.items()}
    signs = {seed: np.sign(sum(rho for other, rho in whole.items() if other != seed)) for seed in pairs}

    def rhos(picks: Mapping[int, np.ndarray]) -> tuple[float, float]:
        own = [signs[s] * spearman(c[picks[s]], t[picks[s]]) for s, (c, _, t) in pairs.items()]
        depth = [spearman(d[picks[s]], t[picks[s]]) for s, (_, d, t) in pairs.items()]
        return float(np.mean(own)), float(np.mean(depth))

    channel, depth = rhos({seed: np.arange(len(own[0])) for seed, own in pairs.items()})
    for _ in range(RESAMPLES):
        a, b = rhos({seed: rng.integers(0, len(own[0]), len(own[0])) for seed, own in pairs.items()})
        drawn.append(a - b)
    low, high = np.percentile(drawn, [2.5, 97.5])
    p = (1 + sum(value <= 0 for value in drawn)) / (1 + RESAMPLES)
    figures = {"channel": name, "rho": channel, "depth": depth, "difference": channel - depth}
    return {**figures, "low": float(low), "high": float(high), "p": min(1.0, 2 * p)}


def _rho_figures(pairs: Mapping[int, tuple[np.ndarray, np.ndarray]], name: str) -> dict[str, Any]:
    by_seed = {str(seed): spearman(left, right) for seed, (left, right) in pairs.items()}
    rng, drawn = seeds.named(1, name), []
    for _ in range(RESAMPLES):
        picks = [(own, rng.integers(0, len(own[0]), len(own[0]))) for own in pairs.values()]
        drawn.append(np.mean([spearman(left[pick], right[pick]) for (left, right), pick in picks]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    genes = len(next(iter(pairs.values()))[0])
    mean = float(np.mean(list(by_seed.values())))
    return {"rho": mean, "low": float(low), "high": float(high), "by_seed": by_seed, "genes": genes}


def _protection(plan: Plan, measured: Measured) -> list[dict[str, Any]]:
    """H4: NLL per byte of protected text at equal scores, frozen minus free, over documents."""
    out = []
    for tolerance in TOLERANCES:
        row = frozen_name(tolerance)
        known = _seeds(plan.seeds, measured, 2, row)
        frozen = [seed for seed in known if measured[seed, 2][row].chosen["frozen"]]
        own: dict[str, Any] = {"tolerance": tolerance, "seeds": known, "seeds_frozen": frozen}
        if frozen:
            values, clusters, pools = [], [], []
            by_seed = {}
            for seed in frozen:
                children = measured[seed, 2][row].chosen["children"]
                table = {name: np.array(child["nll"]) for name, child in children.items()}
                own_values = (table["frozen"][:, 0] - table["free"][:, 0]) / table["free"][:, 1]
                values += list(own_values)
                by_seed[str(seed)] = float(own_values.mean())
                clusters += [f"{seed}:{number}" for number in range(len(table["free"]))]
                pools.append({name: child["pool"] for name, child in children.items()})
            own |= {**_difference(ClusterTotals.of(values, clusters), row), "scores": pools, "by_seed": by_seed}
            own |= {"genes": [len(measured[seed, 2][row].chosen["frozen"]) for seed in frozen]}
        out.append(own)
    return out


def _verdicts(page: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Hypothesis -> its verdict and a sentence."""
    out = {}
    for name in ("H1", "H2", "H6"):
        own = [c for c in page["contrasts"] if c["hypothesis"] == name]
        decides = [c for c in own if c["decides"]]
        won = [c for c in decides if c["p_holm"] < LEVEL and c["difference"] > 0]
        beaten = [c for c in own if not c["decides"] and c["p_holm"] < LEVEL and c["difference"] > 0]
        nulls = sum(not c["decides"] for c in own)
        sentence = f"{len(won)} of {len(decides)} comparisons won at p < {LEVEL}, {len(beaten)} of {nulls} nulls beaten"
        yes = decides and len(won) == len(decides) and (name != "H1" or len(beaten) == nulls)
        out[name] = {"verdict": "yes" if yes else "no" if decides else "not measured", "why": sentence}
    rho = {own["preset"]: own for own in page["H3"]}
    if "response" in rho:
        own, others = rho["response"], [o["rho"] for name, o in rho.items() if name != "response"]
        yes = own["rho"] >= RHO and all(own["rho"] > other for other in others)
        sentence = f"rho {own['rho']:+.2f} [{own['low']:+.2f}, {own['high']:+.2f}]; goal {RHO}"
        out["H3"] = {"verdict": "yes" if yes else "no", "why": sentence}
    frozen = [own for own in page["H4"] if "p" in own]
    if page["H4"] and any(own["seeds"] for own in page["H4"]):
        better = [own for own in frozen if own["p"] * len(frozen) < LEVEL and own["difference"] < 0]
        sentence = f"{len(better)} of {len(page['H4'])} tolerances; layers were frozen at {len(frozen)}"
        out["H4"] = {"verdict": "yes" if better and len(better) == len(frozen) else "no", "why": sentence}
    if page["H5"]:
        better = [own for own in page["H5"] if own["p_holm"] < LEVEL and own["difference"] > 0]
        sentence = f"{len(better)} of {len(page['H5'])} channels above a table of depth"
        out["H5"] = {"verdict": "yes" if better else "no", "why": sentence}
    return {name: out.get(name, {"verdict": "not measured", "why": ""}) for name in NAMES}
