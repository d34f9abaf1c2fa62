"""The table of ``docs/reliability.md`` and the tests of this folder are held together: each cell names its test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
NAMED = re.compile(r"`(test_\w+(?:\[[^]]+\])?)`")


def test_each_cell_is_a_test_and_each_test_is_a_cell(request: pytest.FixtureRequest) -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| fault")]
    cells = [cell for row in rows for cell in row.replace("\\|", "").strip("|").split("|")[1:]]
    without = [cell for cell in cells if not NAMED.search(cell)]
    assert [cell.strip() for cell in without] == ["0: it reads no parent"]
    named = {name for cell in cells for name in NAMED.findall(cell)}
    tests = {item.name for item in request.session.items if Path(item.path).parent == Path(__file__).parent}
    if not any(name.startswith("test_a_full_disk") for name in tests):
        pytest.skip("this run was asked for other tests: those of the whole folder are compared")
    apart = {"test_each_cell_is_a_test_and_each_test_is_a_cell"}
    whole = {name for name in tests if name.startswith("test_resuming_after_a_fault_in_every_stage[")}
    assert whole and named == tests - apart - whole
