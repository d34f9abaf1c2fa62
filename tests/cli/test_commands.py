"""The command line: exit codes, one-line errors, JSON, and nothing half-written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from darwin_mri.cli.options import command_line
from tests.commands import call
from tests.toys import pico, pico_gemma4, pico_llama


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Path]:
    """Folders that cannot be scanned, by what is wrong with them; ``absent`` does not exist."""
    folders = {"stranger": tmp_path / "stranger", "absent": tmp_path / "absent"}
    folders["stranger"].mkdir()
    (folders["stranger"] / "notes.txt").write_text("hello")
    truncated = pico_llama(tmp_path / "truncated")
    shard = next(truncated.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    bare = pico_llama(tmp_path / "bare")
    for shard in bare.glob("*.safetensors"):
        shard.unlink()
    return {**folders, "truncated": truncated, "bare": bare, "mamba": pico("mamba2", tmp_path / "mamba")}


@pytest.mark.parametrize("case", ["stranger", "absent", "truncated", "bare", "mamba"])
def test_what_cannot_be_scanned_is_refused_in_one_line(
    broken: dict[str, Path],
    case: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = call(capfd, monkeypatch, "scan", broken[case], "--out", out, "--offline")
    lines = stderr.strip().splitlines()
    assert code == 1 and not stdout and len(lines) == 1 and lines[0].startswith("darwin-mri: ")
    assert case in lines[0] and not out.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "broken', "p.jsonl line 1"),
        ('{"text": "some text", "language": "q1q", "domain": "prose", "doc": "a"}', "p.jsonl line 1: language"),
        ("", "probe"),
    ],
)
def test_broken_probes_are_named_and_nothing_is_written(
    line: str, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "p.jsonl").write_text(line)
    model, out = pico_llama(tmp_path / "model"), tmp_path / "out"
    code, stdout, stderr = call(capfd, monkeypatch, "scan", model, "--probes", tmp_path / "texts", "--out", out)
    assert code == 1 and not stdout and message in stderr and len(stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_one_document_is_too_few_for_an_interval(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probes").mkdir()
    row = {"text": "one text alone, of a few words", "language": "en", "domain": "prose", "doc": "a"}
    (tmp_path / "probes" / "p.jsonl").write_text(json.dumps(row))
    model, out = pico_llama(tmp_path / "model"), tmp_path / "out"
    code, stdout, stderr = call(
        capfd, monkeypatch, "scan", model, "--probes", tmp_path / "probes", "--out", out, "--quiet"
    )
    assert code == 0 and not stderr and "too few documents for an interval (1): " in stdout


def test_scan_prints_tables_or_json(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pico_gemma4(tmp_path / "model")
    common = ("scan", model, "--documents", "2", "--offline", "--quiet", "--overwrite", "--out", tmp_path / "out")
    code, stdout, stderr = call(capfd, monkeypatch, *common)
    assert code == 0 and not stderr
    words = [line.split() for line in stdout.splitlines()]
    mixers = {row[0]: row[1] for row in words if len(row) > 1 and row[1] in ("sliding", "full")}
    assert mixers == {"0": "sliding", "1": "full", "2": "sliding", "3": "full"}
    code, stdout, _ = call(capfd, monkeypatch, *common, "--json")
    assert code == 0 and json.loads(stdout)["father"]["model"]["layers"] == 4
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("breed",), 2, "--config"),
        (("breed", "--config", "nowhere.yaml"), 2, "does not exist"),
        (("breed", "--father", "nursery:gemma4-bass", "--mother", "nursery:gemma4-base"), 1, "known:"),
        (("scan", "nursery:gemma4-base", "--device", "tpu"), 2, "device"),
        (("bench", "nursery:gemma4-base", "--tasks", "nursery_clik"), 2, "nursery_click"),
        (("report", "nowhere"), 1, "not a folder"),
        (("frobnicate",), 2, "frobnicate"),
        (("scan",), 2, "give a model"),
    ],
)
def test_wrong_usage_has_the_right_exit_code(
    words: tuple[str, ...],
    code: int,
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    exit_code, _, stderr = call(capfd, monkeypatch, *words)
    assert exit_code == code and message in stderr and "Traceback" not in stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_names_the_nearest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("father: a\nmother: b\nsearch: {budgett: 3}\n")
    code, _, stderr = call(capfd, monkeypatch, "breed", "--config", path)
    assert code == 2 and "search.budgett" in stderr and "'budget'" in stderr


def test_nursery_lists_json(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, stdout, _ = call(capfd, monkeypatch, "nursery", "--json")
    rows = json.loads(stdout)
    assert code == 0 and {"name", "path", "family", "role", "sha256"} == set(rows[0]) and len(rows) == 4


def test_a_published_command_line_holds_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["breed", "/models/father", "--out=/home/me/run", "--task", "mine=/home/me/q.csv", "--task", "b=q.csv"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/darwin-mri", *words])
    published = ("breed", "father", "--out=run", "--task", "mine=q.csv", "--task", "b=q.csv")
    assert command_line() == ("darwin-mri", *published)
