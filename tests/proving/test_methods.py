"""The table of merge methods: siblings that hold different knowledge, cells that are kept, and what is made of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from proving.methods.__main__ import main, ordered
from proving.methods.bench import Sizes, split_shares
from proving.methods.cells import Cell, Cells
from proving.methods.figures import TRUTH, make_page, specialist_row
from proving.methods.markdown import write_page
from proving.methods.rows import BASELINE, FROM_PRIOR, ONE, PER_PARENT, PRIOR, ROWS, Tuned
from proving.methods.siblings import NurserySiblings

SIZES = Sizes(search=4, fresh=4, held_out=80)


def test_a_second_quick_run_trains_and_measures_nothing_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [
        "--siblings",
        str(tmp_path / "s"),
        "--out",
        str(tmp_path / "o"),
        "--quick",
        "--only",
        "per parent, fit",
    ]
    assert main(arguments) == 0
    first = capsys.readouterr()
    assert "specialist 1: loss" in first.err
    page = json.loads((tmp_path / "o" / "methods.json").read_text())
    assert {row["row"] for row in page["tables"]["2"]} == {BASELINE, PER_PARENT}
    assert 0 <= page["tables"]["2"][0]["accuracy"] <= 1 < page["tables"]["2"][0]["asked"]
    cells = (tmp_path / "o" / "cells.jsonl").read_bytes()
    assert main(arguments) == 0
    second = capsys.readouterr()
    assert "loss" not in second.err
    assert second.out == first.out
    assert (tmp_path / "o" / "cells.jsonl").read_bytes() == cells


def test_specialists_read_about_different_places_and_never_a_tested_wording(tmp_path: Path) -> None:
    one = NurserySiblings(tmp_path, 1)
    shares = [{fact.place for fact in one.facts(number)} for number in range(6)]
    assert all(len(share) == 20 for share in shares)
    assert not any(left & right for left, right in combinations(shares, 2))
    read = {text for fact in one.facts(0) for text in fact.wordings(test=False)}
    assert not any(text.startswith(item.context) for text in read for item in one.items(0))
    assert one.digest == NurserySiblings(tmp_path / "elsewhere", 1).digest
    assert len({one.digest, NurserySiblings(tmp_path, 2).digest, replace(one, steps=9).digest}) == 3


def test_the_three_parts_share_no_fact_and_every_share_has_as_many_items(tmp_path: Path) -> None:
    parts = split_shares(NurserySiblings(tmp_path, 1), 4, SIZES)
    clusters = [{item.cluster for item in part} for part in (parts.search, parts.fresh, parts.held_out)]
    assert not any(left & right for left, right in combinations(clusters, 2))
    for part, size in ((parts.search, 4), (parts.fresh, 4), (parts.held_out, 20)):
        assert {name: [item.benchmark for item in part].count(name) for name in (f"share{n}" for n in range(4))} == {
            f"share{n}": size for n in range(4)
        }


def test_rows_come_after_what_they_need_and_without_methods_that_are_absent() -> None:
    names = [row.name for row in ordered(tuple(reversed(ROWS)))]
    assert len(names) == len(set(names)) == sum(row.known for row in ROWS)
    assert names.index(PRIOR) < names.index(FROM_PRIOR)
    absent = Tuned("of tomorrow", method="not yet written")
    assert [row.name for row in ordered((absent, *ROWS))] == [row.name for row in ordered(ROWS)]


def test_cells_of_other_inputs_and_a_line_cut_short_are_not_known(tmp_path: Path) -> None:
    path, cell = tmp_path / "cells.jsonl", Cell({"ratio": 0.5}, 0.25, (1.0, 0.0), 0.5, 2.0, 7)
    Cells(path, {1: "a"}).put(1, 2, "row", cell)
    with path.open("a") as stream:
        stream.write('{"inputs": "cut')
    assert Cells(path, {1: "a"}).known == {(1, 2, "row"): cell}
    assert not Cells(path, {1: "b"}).known
    assert not Cells(path, {1: "a"}, {"row": "made otherwise"}).known
    Cells(path, {1: "a"}).put(1, 4, "row", cell)
    assert set(Cells(path, {1: "a"}).known) == {(1, 2, "row"), (1, 4, "row")}


def test_the_page_says_what_was_planted(tmp_path: Path) -> None:
    siblings, cells = (
        [NurserySiblings(tmp_path, seed) for seed in (1, 2)],
        Cells(tmp_path / "cells.jsonl", {1: "", 2: ""}),
    )
    genes = {f"L{n}.ffn": n / 20 for n in range(20)}
    rng = np.random.default_rng(5)
    for one in siblings:
        size = len(split_shares(one, 2, SIZES).held_out)
        half = tuple(float(n % 2) for n in range(size))
        for number in range(6):
            own = {"own": 0.8, "others": 0.2, "nll_base": 1.0, "nll": 1.5}
            cells.put(one.seed, 0, specialist_row(number), Cell(own))
        cells.put(one.seed, 2, BASELINE, Cell({"ratio": 0.5}, credits=half))
        cells.put(one.seed, 2, PER_PARENT, Cell(credits=half))
        cells.put(one.seed, 2, ONE, Cell(credits=half))
        cells.put(one.seed, 2, PRIOR, Cell({"genes": genes}, credits=(1.0,) * size))
        changes = {name: [value + 0.001 * rng.random() for _ in range(8)] for name, value in genes.items()}
        cells.put(one.seed, 2, TRUTH, Cell({"changes": changes}))
    page = make_page(cells, siblings, (2, 4), SIZES)
    rows = {row["row"]: row for row in page["tables"]["2"]}
    assert list(page["tables"]) == ["2"]
    assert rows[BASELINE]["accuracy"] == 0.5
    assert rows[BASELINE]["normalised"] == pytest.approx(0.5 / 0.8)
    assert rows[BASELINE]["against"] is None
    better, same = rows[PRIOR]["against"], rows[PER_PARENT]["against"]
    assert better["accuracy"]["difference"] == 0.5
    assert 0 < better["normalised"]["low"] < 0.5 / 0.8 < better["normalised"]["high"]
    assert better["p_holm"] < 0.01 < same["p_holm"] == 1
    assert page["structure"]["2"][0]["against"]["p_holm"] == 1
    assert page["prior"]["2"]["rho"] == pytest.approx(1)
    assert f"better than {BASELINE} at p < 0.01: {PRIOR} (+0.625)." in write_page(page)
