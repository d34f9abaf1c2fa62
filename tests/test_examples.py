"""The examples run, and print what their docstrings say; one of them in a process of its own, as readers run all."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], str]:
    """What an example prints, run as a script."""

    def run(name: str, folder: Path) -> str:
        script = str(ROOT / "examples" / name)
        monkeypatch.setattr(sys, "argv", [script, str(folder)])
        capsys.readouterr()
        runpy.run_path(script, run_name="__main__")
        return capsys.readouterr().out

    return run


def test_scanning_one_model_names_the_layer_of_the_largest_rise(
    tmp_path: Path, run_example: Callable[[str, Path], str]
) -> None:
    header, *rows, last = run_example("scan_one_model.py", tmp_path).splitlines()
    assert header.split()[:2] == ["layer", "Korean"]
    rises = {int(row.split()[0]): float(row.split()[1].rstrip("%")) for row in rows}
    named = int(last.split("layer ")[1].split(";")[0])
    assert len(rises) == 8 and rises[named] == max(rises.values())
    assert (tmp_path / "scan" / "father.json").is_file()


def test_breeding_in_python_prints_verdict_scores_and_report(
    tmp_path: Path, run_example: Callable[[str, Path], str]
) -> None:
    lines = run_example("breed_in_python.py", tmp_path).splitlines()
    assert "ybrid vigor" in lines[0]
    assert {"father", "mother", "child"} <= {line.split()[0] for line in lines[1:4]}
    assert lines[-1] == f"report: {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").is_file() and (tmp_path / "child" / "config.json").is_file()


def test_scoring_two_models_prints_scores_and_paired_contrast(
    tmp_path: Path, run_example: Callable[[str, Path], str]
) -> None:
    korean, reasoning, contrast, counts = run_example("score_two_models.py", tmp_path).splitlines()
    scores = [float(line.split()[1].rstrip("%")) for line in (korean, reasoning)]
    difference = float(contrast.split(": ")[1].split("%")[0])
    assert scores[0] > scores[1] and abs(scores[0] - scores[1] - difference) < 0.2
    assert "of 120 items" in counts


def test_reading_a_run_needs_no_torch() -> None:
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(), run_name='__main__'); assert 'torch' not in sys.modules"
    script = str(ROOT / "examples" / "read_a_run.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, script], env=env, check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[0].endswith("genes") and lines[2].startswith("frozen layers, to protect ko")
    assert "ybrid vigor" in lines[-1]
