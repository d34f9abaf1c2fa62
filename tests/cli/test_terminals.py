"""Terminals and pipes whose encoding lacks signs: everything is printed, a minus stays a minus, JSON stays JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import spawn
from tests.toys import pico_llama

ENCODINGS = ("cp949", "ascii:strict")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models, the first with a name that no Western terminal has."""
    root = tmp_path_factory.mktemp("terminals")
    small = {"num_hidden_layers": 2, "dtype": "bfloat16"}
    return pico_llama(root / "한글−model", **small), pico_llama(root / "other", seed=1, **small)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_scan_and_bench_print_on_any_terminal(models: tuple[Path, Path], tmp_path: Path, encoding: str) -> None:
    scan = spawn("scan", models[0], "--documents", 1, "--out", tmp_path / "s", "--offline", PYTHONIOENCODING=encoding)
    bench = ("bench", *models, "--tasks", "nursery_click", "--limit", 8, "--fast", "--out", tmp_path / "b", "--offline")
    for done in (scan, spawn(*bench, PYTHONIOENCODING=encoding)):
        assert done.returncode == 0 and b"Traceback" not in done.stderr
        text = done.stdout.decode(encoding.partition(":")[0])
        assert "-model" in text and "│" not in text
    rows = [line.split() for line in scan.stdout.decode(encoding.partition(":")[0]).splitlines()]
    signs = {word[0] for row in rows if row and row[0].isdigit() for word in row[2:]}
    assert "-" in signs and "?" not in signs  # a measured fall is no question


def test_json_is_json_on_any_terminal(models: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("plan", "--father", models[0], "--mother", models[1], "--method", "linear", "--offline", "--json")
    parents = [
        json.loads(spawn(*words, PYTHONIOENCODING=encoding).stdout)["parents"] for encoding in ("ascii", "utf-8")
    ]
    assert parents[0] == parents[1] and "한글" in parents[0][0]["ref"]


def test_errors_and_tracebacks_print_on_any_terminal(tmp_path: Path) -> None:
    for words in ((), ("--debug",)):
        done = spawn("report", tmp_path / "없다", *words, PYTHONIOENCODING="ascii:strict")
        assert done.returncode == 1 and b"not a folder" in done.stderr and b"UnicodeEncodeError" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
def test_a_folder_may_be_named_by_any_bytes(models: tuple[Path, Path], tmp_path: Path) -> None:
    out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\xff"))
    done = spawn("scan", models[1], "--documents", 1, "--out", out, "--offline")
    assert done.returncode == 0 and b"Traceback" not in done.stderr and (out / "manifest.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [("nursery",), ("nursery", "--json")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_goes_nowhere_is_said_in_one_line(words: tuple[str, ...], unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "darwin_mri", *words]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "No space left" in done.stderr
