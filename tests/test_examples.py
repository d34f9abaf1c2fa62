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


def test_the_notebook_runs_and_shows_tables_and_charts(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells)  # committed without results, which would grow old
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute(env=env)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    shown = [output.data for output in outputs if "data" in output]
    assert "ybrid vigor" in printed and "report.html" in printed and "config.json" in printed
    assert sum("image/svg+xml" in data for data in shown) == 3
    assert sum("<table>" in data.get("text/html", "") for data in shown) == 2
    assert not any(output.output_type == "error" for output in outputs)


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
