"""One seed and number of specialists, measured row by row into a file of its own; an interrupted one goes on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from darwin_mri.benchmarks import ChoiceItem
from proving.bases import BASES
from proving.methods.bench import Bench, split_shares
from proving.methods.cells import Cell, Cells
from proving.specialists import BASE, Specialists
from proving.study.plan import Plan
from proving.study.rows import fingerprint, rows_for
from proving.study.verdicts import Unit

Say = Callable[[str], None]


def measure_unit(plan: Plan, unit: Unit, specialists: Specialists, out: Path, say: Say) -> None:
    """Measure what is not known yet, on one core, so that the same records come out every time.

    Args:
        plan: sizes.
        unit: seed and number of specialists.
        specialists: of the seed.
        out: folder of the study.
        say: told every row.
    """
    torch.set_num_threads(1)
    seed, count = unit
    cells, rows = open_cells(plan, unit, specialists, out), list(rows_for(plan, unit))
    todo = [row for row in rows if (seed, count, row.name) not in cells.known]
    if not todo:
        return
    searches = out / "searches" / f"{_stem(unit)}-{_identity(plan, unit, specialists)}"
    searches.mkdir(parents=True, exist_ok=True)
    bench = Bench(specialists, count, plan.sizes(count), searches)
    for row in todo:
        done = {name: cell for (_, _, name), cell in cells.known.items()}
        began = time.perf_counter()
        cell = row.measure(bench, done)
        if row.judged and (cell.chosen or not row.needs):
            credits, smooth = bench.judge()
            cell = replace(cell, credits=credits, smooth=smooth)
        cells.put(seed, count, row.name, cell)
        score = f"{sum(cell.credits) / len(cell.credits):.3f}" if cell.credits else "measured"
        say(f"seed {seed}, {count} specialists, {row.name}: {score}, {time.perf_counter() - began:.0f} s")


def open_cells(plan: Plan, unit: Unit, specialists: Specialists, out: Path) -> Cells:
    """What is known of a unit; cells of other sizes, adapters or rows are not."""
    rows = {row.name: row for row in rows_for(plan, unit)}
    made_by = {name: fingerprint(row, rows) for name, row in rows.items()}
    return Cells(out / "cells" / f"{_stem(unit)}.jsonl", {unit[0]: _identity(plan, unit, specialists)}, made_by)


def held_out_items(plan: Plan, unit: Unit, specialists: Specialists) -> Sequence[ChoiceItem]:
    """The items that credits are of, in their order."""
    return split_shares(specialists, unit[1], plan.sizes(unit[1])).held_out


def known_cells(plan: Plan, unit: Unit, specialists: Specialists, out: Path) -> dict[str, Cell]:
    """Row -> its cell, as far as it is measured, in the plan's order."""
    known = open_cells(plan, unit, specialists, out).known
    names = [row.name for row in rows_for(plan, unit)]
    return {name: known[*unit, name] for name in names if (*unit, name) in known}


def _stem(unit: Unit) -> str:
    return f"seed-{unit[0]}-of-{unit[1]}"


def _identity(plan: Plan, unit: Unit, specialists: Specialists) -> str:
    """Of base, adapters, items and sizes; budgets and numbers of specialists that a plan has beside it do not count."""
    others = ("counts", "seeds", "budgets", "later")
    sizes = {name: value for name, value in asdict(plan).items() if name not in others}
    files = [specialists.folder / name / "adapter_model.safetensors" for name in specialists.names[: unit[1]]]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    items = hashlib.sha256(repr([specialists.items(number) for number in range(unit[1])]).encode()).hexdigest()
    parts = [BASES[BASE].sha256, unit, sizes, digests, items]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
