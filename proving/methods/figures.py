"""From cells to the table: paired contrasts with the baseline, Holm over the page, what the prior's genes are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from darwin_mri import seeds
from darwin_mri.mri.prediction import halved_correlation
from darwin_mri.stats.paired import (
    ClusterTotals,
    bootstrap_means,
    effects,
    holm,
    percentile_interval,
    sign_flip_p_value,
)
from proving.methods.bench import Sizes, split_shares
from proving.methods.cells import Cell, Cells
from proving.methods.rows import BASELINE, ONE, PER_LAYER, PER_PARENT, PRIOR
from proving.methods.siblings import NurserySiblings

LEVEL = 0.01
RESAMPLES = 1_000  # of genes
TRUTH = "truth of the genes"
STRUCTURE = (
    (PER_LAYER, PER_PARENT),
    (PER_PARENT, ONE),
)


def specialist_row(number: int) -> str:
    """Name of the cell that a specialist's own figures are kept in."""
    return f"specialist {number}"


@dataclass(frozen=True)
class Pool:
    """All seeds' held-out items of one number of parents.

    Attributes:
        clusters: of each item: its seed and fact.
        scales: 1 / the accuracy of the specialist that knows it, on its own held-out items.
        seeds: of each item.
    """

    clusters: tuple[str, ...]
    scales: np.ndarray
    seeds: np.ndarray


def make_page(cells: Cells, siblings: Sequence[NurserySiblings], counts: Sequence[int], sizes: Sizes) -> dict[str, Any]:
    """All figures.

    Args:
        cells: that are measured; what is not is left out.
        siblings: of each seed.
        counts: numbers of parents.
        sizes: of the benches.

    Returns:
        The page, as JSON values: specialists, a table for each number of parents, structure, and Spearman's rho.
    """
    own = {
        (one.seed, number): cells.known[one.seed, 0, specialist_row(number)].chosen
        for one in siblings
        for number in range(one.specialists)
        if (one.seed, 0, specialist_row(number)) in cells.known
    }
    page: dict[str, Any] = {
        "sizes": asdict(sizes),
        "specialists": [{"seed": seed, "number": number, **figures} for (seed, number), figures in own.items()],
        "tables": {},
        "structure": {},
        "prior": {},
    }
    contrasts: list[dict[str, Any]] = []
    for count in counts:
        measured = _rows(cells, siblings, count)
        if BASELINE not in measured:
            continue
        some = [one for one in siblings if one.seed in measured[BASELINE]]
        table, structure = _tables(measured, _pools(some, count, sizes, own), count)
        page["tables"][str(count)], page["structure"][str(count)] = table, structure
        contrasts += [row["against"] for row in (*table, *structure) if row["against"]]
        if prior := _prior_figures(cells, siblings, count):
            page["prior"][str(count)] = prior
    for contrast, adjusted in zip(contrasts, holm(c["p"] for c in contrasts), strict=True):
        contrast["p_holm"] = adjusted
    return page


def _rows(cells: Cells, siblings: Sequence[NurserySiblings], count: int) -> dict[str, dict[int, Cell]]:
    """Row -> seed -> its cell."""
    rows: dict[str, dict[int, Cell]] = {}
    known = {one.seed for one in siblings}
    for (seed, parents, row), cell in cells.known.items():
        if parents == count and seed in known and cell.credits:
            rows.setdefault(row, {})[seed] = cell
    return rows


def _pools(
    siblings: Sequence[NurserySiblings], count: int, sizes: Sizes, own: Mapping[tuple[int, int], Mapping[str, Any]]
) -> Pool:
    clusters, scales, places = [], [], []
    for one in siblings:
        for item in split_shares(one, count, sizes).held_out:
            clusters.append(f"{one.seed}:{item.cluster}")
            scales.append(1 / own[one.seed, int(item.benchmark.removeprefix("share"))]["own"])
            places.append(one.seed)
    return Pool(tuple(clusters), np.array(scales), np.array(places))


def _tables(
    measured: Mapping[str, Mapping[int, Cell]], pool: Pool, count: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of all seeds of the baseline, and the contrasts of structure."""
    every = sorted(measured[BASELINE])
    credits = {
        row: np.array([credit for seed in every for credit in own[seed].credits])
        for row, own in measured.items()
        if set(every) <= own.keys()
    }
    table = []
    for row, values in credits.items():
        own = [measured[row][seed] for seed in every]
        figures = {
            "row": row,
            "accuracy": float(values.mean()),
            "normalised": float((values * pool.scales).mean()),
            "by_seed": [float(values[pool.seeds == seed].mean()) for seed in every],
            "smooth": float(np.mean([cell.smooth for cell in own])),
            "seconds": float(np.mean([cell.seconds for cell in own])),
            "asked": float(np.mean([cell.asked for cell in own])),
            "items": len(values),
            "seeds": every,
            "chosen": [_brief(cell.chosen) for cell in own],
        }
        against = None if row == BASELINE else _contrast(values, credits[BASELINE], pool, f"{count} {row}")
        table.append({**figures, "against": against})
    structure = [
        {"row": row, "other": other, "against": _contrast(credits[row], credits[other], pool, f"{count} {row} {other}")}
        for row, other in STRUCTURE
        if row in credits and other in credits
    ]
    return table, structure


def _contrast(values: np.ndarray, other: np.ndarray, pool: Pool, name: str) -> dict[str, Any]:
    """Differences of normalised and of plain accuracy with 95 % intervals, and the p-value of the normalised one."""
    out: dict[str, Any] = {}
    for measure, scales in (("normalised", pool.scales), ("accuracy", np.ones(len(values)))):
        totals = ClusterTotals.of((values - other) * scales, pool.clusters)
        estimate, rng = float(totals.means), seeds.named(1, name, measure)
        low, high = percentile_interval(bootstrap_means(totals, rng), estimate, clusters=len(totals.sizes))
        out[measure] = {"difference": estimate, "low": low, "high": high}
        if measure == "normalised":
            out["p"] = sign_flip_p_value(effects([(totals, 1.0)]), rng)
    return out


def _prior_figures(cells: Cells, siblings: Sequence[NurserySiblings], count: int) -> dict[str, Any] | None:
    """Spearman's rho of the prior's genes with the truth: the mean over seeds, its interval over genes, the ceiling."""
    means, truths, ceilings = [], [], []
    for one in siblings:
        cell, prior = (cells.known.get((one.seed, count, row)) for row in (TRUTH, PRIOR))
        if cell is None or prior is None or not cell.chosen["changes"]:
            continue
        blocks = {name: np.array(own) for name, own in cell.chosen["changes"].items()}
        genes: Mapping[str, float] = prior.chosen["genes"]
        means.append(np.array([genes[name] for name in blocks]))
        truths.append(np.array([own.mean() for own in blocks.values()]))
        ceilings.append(halved_correlation(blocks, blocks, one.seed)[0])
    if not means:
        return None
    rng, drawn = seeds.named(1, "genes", count), []
    for _ in range(RESAMPLES):
        picks = [rng.integers(0, len(own), len(own)) for own in means]
        drawn.append(np.mean([spearman(m[p], t[p]) for m, t, p in zip(means, truths, picks, strict=True)]))
    by_seed = [spearman(mean, truth) for mean, truth in zip(means, truths, strict=True)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "rho": float(np.mean(by_seed)),
        "low": float(low),
        "high": float(high),
        "by_seed": by_seed,
        "genes": len(means[0]),
        "ceiling": ceilings,
    }


def spearman(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's rho of two (values,); 0 where a side is constant."""
    if len(left) < 3 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(left), rankdata(right))[0, 1])


def _brief(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen, with the mean of genes in place of all of them."""
    brief = {name: value for name, value in chosen.items() if name not in ("genes", "prior")}
    if "genes" in chosen:
        values = list(chosen["genes"].values())
        brief |= {"mean": float(np.mean(values)), "spread": float(np.std(values))}
    return brief
