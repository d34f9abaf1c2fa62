"""The committed example is what this code writes from its records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from darwin_mri.records import ArenaResult
from darwin_mri.report import write_arena, write_report, write_runs_report

EXAMPLE = Path(__file__).parents[2] / "reports" / "nursery"
RUNS = ("opus", "david", "genesis")
ARENA = EXAMPLE.parent / "arena"
ARENAS = ("gemma3-minerals", "nursery", "other-world", "qwen-father", "reasoning", "smollm2-minerals", "smollm2-people")


@pytest.mark.parametrize("name", RUNS)
def test_each_generation_is_up_to_date(tmp_path: Path, name: str) -> None:
    def unpublished(folder: str, names: list[str]) -> set[str]:
        return {"child", "state"} & set(names) if Path(folder) == EXAMPLE / name else set()

    shutil.copytree(EXAMPLE / name, tmp_path / name, ignore=unpublished)
    view = write_report(tmp_path / name)
    assert view.missing == () and not [alert for alert in view.alerts if "cannot be read" in alert.text]
    for file in ("report.html", "report.txt", "card.md", "card.svg"):
        written, committed = ((folder / name / file).read_text(encoding="utf-8") for folder in (tmp_path, EXAMPLE))
        assert written == committed, f"reports/nursery/{name}/{file} is out of date: run make example"


def test_the_page_over_all_generations_is_up_to_date(tmp_path: Path) -> None:
    write_runs_report([EXAMPLE / name for name in RUNS], tmp_path / "runs.html")
    for file in ("runs.html", "runs.txt"):
        written, committed = ((folder / file).read_text(encoding="utf-8") for folder in (tmp_path, EXAMPLE))
        assert written == committed, f"reports/nursery/{file} is out of date: run make example"


@pytest.mark.parametrize("name", ARENAS)
def test_each_arena_page_is_up_to_date(tmp_path: Path, name: str) -> None:
    write_arena(ArenaResult.load(ARENA / name / "arena.json"), tmp_path)
    committed = (ARENA / name / "arena.html").read_text(encoding="utf-8")
    assert (tmp_path / "arena.html").read_text(encoding="utf-8") == committed, f"reports/arena/{name} is out of date"
