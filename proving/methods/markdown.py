"""The page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from proving.methods.figures import LEVEL
from proving.methods.rows import BASELINE, FROM_PRIOR


def write_page(page: Mapping[str, Any]) -> str:
    """Specialists, a table for each number of parents, structure, and the prior's genes."""
    lines = [*_specialists(page["specialists"])]
    for count, table in page["tables"].items():
        lines += _table(count, table)
    if any(page["structure"].values()):
        lines += ["### Ratios: one, one per parent, one per layer and parent", ""]
        for count, rows in page["structure"].items():
            lines += [
                f"* {count} parents: {row['row']} against {row['other']}: {_difference(row['against'])}" for row in rows
            ]
        lines.append("")
    if page["prior"]:
        lines += ["### Spearman's rho of the response prior's genes with the measured truth", ""]
        for count, own in page["prior"].items():
            by_seed = ", ".join(f"{rho:.2f}" for rho in own["by_seed"])
            ceiling = ", ".join("none" if rho is None else f"{rho:.2f}" for rho in own["ceiling"])
            lines.append(
                f"* {count} parents, {own['genes']} genes: {own['rho']:.2f} [{own['low']:.2f}, {own['high']:.2f}];"
                f" by seed {by_seed}; of one half of the items with the other {ceiling}"
            )
        lines.append("")
    return "\n".join([*lines, *_verdict(page)]) + "\n"


def _specialists(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "### Specialists"
    yield ""
    yield "| seed | specialist | own held-out wordings | others' | base's NLL per byte before | after |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        figures = f"{row['own']:.3f} | {row['others']:.3f} | {row['nll_base']:.3f} | {row['nll']:.3f}"
        yield f"| {row['seed']} | {row['number']} | {figures} |"
    yield ""


def _table(count: str, table: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    seeds = ", ".join(map(str, table[0]["seeds"]))
    yield f"### {count} parents beside the father: {table[0]['items']} held-out items, seeds {seeds}"
    yield ""
    yield "| method | normalised | accuracy | by seed | against the baseline, normalised | p (Holm) | seconds | asked |"
    yield "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: |"
    for row in sorted(table, key=lambda row: -row["normalised"]):
        by_seed = ", ".join(f"{value:.3f}" for value in row["by_seed"])
        against, p = "baseline", ""
        if row["against"]:
            own = row["against"]["normalised"]
            against = f"{own['difference']:+.3f} [{own['low']:+.3f}, {own['high']:+.3f}]"
            p = f"{row['against']['p_holm']:.4f}"
        yield (
            f"| {row['row']} | {row['normalised']:.3f} | {row['accuracy']:.3f} | {by_seed} | {against} | {p}"
            f" | {row['seconds']:.0f} | {row['asked']:.0f} |"
        )
    yield ""


def _difference(against: Mapping[str, Any]) -> str:
    own = against["normalised"]
    interval = f"{own['difference']:+.3f} [{own['low']:+.3f}, {own['high']:+.3f}]"
    return f"{interval}, p (Holm) {against['p_holm']:.4f}"


def _verdict(page: Mapping[str, Any]) -> Iterator[str]:
    """Which rows beat the baseline at the page's level, nulls and the father among them."""
    for count, table in page["tables"].items():
        better = [
            row
            for row in table
            if row["against"] and row["against"]["p_holm"] < LEVEL and row["against"]["normalised"]["difference"] > 0
        ]
        better.sort(key=lambda row: -row["normalised"])
        names = ", ".join(f"{row['row']} ({row['against']['normalised']['difference']:+.3f})" for row in better)
        yield f"* {count} parents: better than {BASELINE} at p < {LEVEL}: {names or 'none'}."
        spread = {row["row"]: [own.get("spread") for own in row["chosen"]] for row in table}.get(FROM_PRIOR)
        if spread:
            yield f"  The genes of the search from the prior have a standard deviation of {np.mean(spread):.2f}."
