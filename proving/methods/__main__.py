"""The table that decides how siblings should be merged: methods x number of parents x seeds, in one command.

    python -m proving.methods --siblings DIR --out DIR

Resumable: specialists are kept in ``--siblings``, cells in ``OUT/cells.jsonl``; the page is written after every cell.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from darwin_mri.benchmarks import sample_items, split_items
from darwin_mri.checkpoints import find_model, load
from darwin_mri.errors import DarwinError
from proving.methods.bench import SEARCH_SHARE, Bench, Sizes, accuracy, base_probes, nll_per_byte
from proving.methods.cells import Cell, Cells
from proving.methods.figures import TRUTH, make_page, specialist_row
from proving.methods.fitted import gene_truth
from proving.methods.markdown import write_page
from proving.methods.rows import BASELINE, ROWS, Row, fingerprint
from proving.methods.siblings import BASE, SPECIALISTS, NurserySiblings

OF_OTHERS = 20  # items of each other share that a specialist is asked
QUICK = Sizes(search=2, fresh=2, held_out=8, budget=4, population=2, steps=1, truth=0, grid=2)


class Table:
    """Everything that is measured.

    Args:
        siblings: of each seed.
        sizes: of the benches.
        out: folder of cells.jsonl, methods.json and methods.md.
    """

    def __init__(self, siblings: Sequence[NurserySiblings], sizes: Sizes, out: Path) -> None:
        self.siblings, self.sizes, self.out = siblings, sizes, out
        inputs = {one.seed: {"sizes": asdict(sizes), "siblings": one.digest} for one in siblings}
        made_by = {row.name: fingerprint(row) for row in ROWS}
        self.cells = Cells(out / "cells.jsonl", inputs, {**made_by, TRUTH: made_by[BASELINE]})

    def fill(self, counts: Sequence[int], rows: Sequence[Row]) -> None:
        """Measure what is not known yet: all rows of each seed, then the truth of the genes."""
        for truth in (False, True):
            for one in self.siblings:
                one.train(say)
                self._measure_specialists(one)
                for count in counts:
                    self._fill_bench(one, count, rows, truth)

    def write(self, counts: Sequence[int]) -> None:
        """Write methods.json and methods.md from the cells."""
        page = make_page(self.cells, self.siblings, counts, self.sizes)
        (self.out / "methods.json").write_text(json.dumps(page, indent=1) + "\n", encoding="utf-8")
        (self.out / "methods.md").write_text(write_page(page), encoding="utf-8")

    def _fill_bench(self, one: NurserySiblings, count: int, rows: Sequence[Row], truth: bool) -> None:
        todo = [row for row in ordered(rows) if (one.seed, count, row.name) not in self.cells.known]
        wanted = truth and self.sizes.truth and (one.seed, count, TRUTH) not in self.cells.known
        if not (wanted if truth else todo):
            return
        with tempfile.TemporaryDirectory(prefix="darwin-mri-methods-") as folder:
            bench = Bench(one, count, self.sizes, Path(folder))
            known = self.cells.known.items()
            done = {row: cell for (seed, parents, row), cell in known if (seed, parents) == (one.seed, count)}
            if truth:
                began = time.process_time()
                changes = gene_truth(bench, done[BASELINE].chosen["ratio"], say)
                self.cells.put(one.seed, count, TRUTH, Cell({"changes": changes}, seconds=time.process_time() - began))
                return
            for row in todo:
                cell = row.measure(bench, done)
                credits, smooth = bench.judge()
                done[row.name] = replace(cell, credits=credits, smooth=smooth)
                self.cells.put(one.seed, count, row.name, done[row.name])
                share = sum(credits) / len(credits)
                say(f"seed {one.seed}, {count} parents, {row.name}: {share:.3f}, {cell.seconds:.0f} s")

    def _measure_specialists(self, one: NurserySiblings) -> None:
        """Each specialist on its own and the others' facts, and the base's NLL on its own text before and after."""
        todo = [n for n in range(one.specialists) if (one.seed, 0, specialist_row(n)) not in self.cells.known]
        if not todo:
            return
        probes = base_probes(one.seed)
        base = load(find_model(BASE, offline=True), "", device="cpu", dtype="float32")
        before = nll_per_byte(base, probes)
        held_out = [split_items(one.items(n), one.seed, SEARCH_SHARE).held_out for n in range(one.specialists)]
        for number in todo:
            model = load(find_model(str(one.model(number)), offline=True), "", device="cpu", dtype="float32")
            others = [
                item
                for other, items in enumerate(held_out)
                if other != number
                for item in sample_items(items, OF_OTHERS, one.seed)
            ]
            figures = {
                "own": accuracy(model, held_out[number]),
                "others": accuracy(model, others),
                "nll_base": before,
                "nll": nll_per_byte(model, probes),
            }
            self.cells.put(one.seed, 0, specialist_row(number), Cell(figures))
            say(f"seed {one.seed}, specialist {number}: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def ordered(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows with what they need before them; rows whose method the package does not have are left out."""
    by_name, given = {row.name: row for row in ROWS}, set[str]()

    def visit(row: Row) -> Iterator[Row]:
        if row.name in given or not row.known:
            return
        for name in row.needs:
            yield from visit(by_name[name])
        given.add(row.name)
        yield row

    for row in rows:
        yield from visit(row)


def say(text: str) -> None:
    """A line of progress."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m proving.methods", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--siblings", type=Path, required=True, help="folder in which trained specialists are kept")
    parser.add_argument("--out", type=Path, required=True, help="folder of cells.jsonl, methods.json and methods.md")
    parser.add_argument("--parents", default="6,4,2", help="numbers of parents, comma-separated, in the order measured")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1")
    parser.add_argument("--only", default="", help="rows whose name contains this, and what they need")
    parser.add_argument("--search", type=int, default=Sizes.search, help="search items of each share")
    parser.add_argument("--budget", type=int, default=Sizes.budget, help="candidates of a search")
    parser.add_argument("--held-out", type=int, default=Sizes.held_out, help="held-out items of each seed")
    parser.add_argument("--truth", type=int, default=Sizes.truth, help="items on which genes are moved; 0 for none")
    parser.add_argument("--quick", action="store_true", help="a smoke run: two small specialists and few items")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # seconds are compared
    sizes, counts = Sizes(search=given.search, budget=given.budget, held_out=given.held_out, truth=given.truth), [2]
    siblings = [NurserySiblings(given.siblings, 1, specialists=2, steps=1, places=2)]
    if given.quick:
        sizes = QUICK
    else:
        counts = [int(count) for count in given.parents.split(",")]
        siblings = [NurserySiblings(given.siblings, seed) for seed in range(1, given.seeds + 1)]
        if max(counts) > SPECIALISTS or min(counts) < 2:
            parser.error(f"--parents {given.parents}: there are 2 to {SPECIALISTS} specialists")
    rows = [row for row in ROWS if given.only in row.name]
    if not rows:
        parser.error(f"--only {given.only} names no row: there are {', '.join(row.name for row in ROWS)}")
    absent = [row.name for row in rows if not row.known]
    if absent:
        say(f"left out, as darwin_mri does not have the method: {', '.join(absent)}")
    try:
        table = Table(siblings, sizes, given.out)
        table.fill(counts, rows)
    except DarwinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table.write(counts)
    print((given.out / "methods.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
