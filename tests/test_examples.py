"""The examples run as a reader runs them, and print what their docstrings say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_example(name: str, *arguments: str) -> str:
    """What an example prints, run as a script in a process of its own."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_scanning_one_model_names_the_layer_of_the_largest_rise(tmp_path: Path) -> None:
    header, *rows, last = run_example("scan_one_model.py", str(tmp_path)).splitlines()
    assert header.split()[:2] == ["layer", "Korean"]
    rises = {int(row.split()[0]): float(row.split()[1].rstrip("%")) for row in rows}
    named = int(last.split("layer ")[1].split(";")[0])
    assert len(rises) == 8 and rises[named] == max(rises.values())
    assert (tmp_path / "scan" / "father.json").is_file()


def test_breeding_in_python_prints_verdict_scores_and_report(tmp_path: Path) -> None:
    lines = run_example("breed_in_python.py", str(tmp_path)).splitlines()
    assert "ybrid vigor" in lines[0]
    assert {"father", "mother", "child"} <= {line.split()[0] for line in lines[1:4]}
    assert lines[-1] == f"report: {tmp_path / 'report.html'}"
    assert (tmp_path / "report.html").is_file() and (tmp_path / "child" / "config.json").is_file()


def test_scoring_two_models_prints_scores_and_paired_contrast(tmp_path: Path) -> None:
    korean, reasoning, contrast, counts = run_example("score_two_models.py", str(tmp_path)).splitlines()
    scores = [float(line.split()[1].rstrip("%")) for line in (korean, reasoning)]
    difference = float(contrast.split(": ")[1].split("%")[0])
    assert scores[0] > scores[1] and abs(scores[0] - scores[1] - difference) < 0.2
    assert "of 120 items" in counts


def test_reading_a_run_needs_no_torch() -> None:
    lines = run_example("read_a_run.py").splitlines()
    assert lines[0].endswith("genes") and lines[2].startswith("frozen layers, to protect ko")
    assert "ybrid vigor" in lines[-1]
    code = "import runpy, sys; runpy.run_path(sys.argv.pop(), run_name='__main__'); assert 'torch' not in sys.modules"
    script = str(ROOT / "examples" / "read_a_run.py")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, script], env=env, check=True, capture_output=True)
