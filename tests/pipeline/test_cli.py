"""The command line: exit codes, one-line errors, JSON, and nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri import cli
from darwin_mri.config import load_config
from tests.toys import pico, pico_gemma4, pico_llama


def call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str | Path
) -> tuple[int, str, str]:
    """Run the command in this process; (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["darwin-mri", *map(str, words)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    done = capfd.readouterr()
    code = stopped.value.code
    return (code if isinstance(code, int) else 0), done.out, done.err


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, Path]:
    folders = {"stranger": tmp_path / "stranger", "empty": tmp_path / "empty"}
    folders["stranger"].mkdir()
    (folders["stranger"] / "notes.txt").write_text("hello")
    truncated = pico_llama(tmp_path / "truncated")
    shard = next(truncated.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-100])
    bare = pico_llama(tmp_path / "bare")
    for shard in bare.glob("*.safetensors"):
        shard.unlink()
    return {**folders, "truncated": truncated, "bare": bare, "mamba": pico("mamba2", tmp_path / "mamba")}


@pytest.mark.parametrize("case", ["stranger", "empty", "truncated", "bare", "mamba"])
def test_scanning_what_cannot_be_scanned(
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
    ("line", "say"),
    [
        ('{"text": "broken', "p.jsonl line 1"),
        ('{"text": "some text", "language": "q1q", "domain": "prose", "doc": "a"}', "p.jsonl line 1: language"),
        ("", "probe"),
    ],
)
def test_broken_probes_are_named_and_nothing_is_written(
    line: str, say: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / "p.jsonl").write_text(line)
    model, out = pico_llama(tmp_path / "model"), tmp_path / "out"
    code, stdout, stderr = call(capfd, monkeypatch, "scan", model, "--probes", tmp_path / "probes", "--out", out)
    assert code == 1 and not stdout and say in stderr and len(stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_one_document_is_too_few_for_an_interval(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probes").mkdir()
    row = {"text": "one text alone, of a few words", "language": "en", "domain": "prose", "doc": "a"}
    (tmp_path / "probes" / "p.jsonl").write_text(json.dumps(row))
    words = (
        "scan",
        pico_llama(tmp_path / "model"),
        "--probes",
        tmp_path / "probes",
        "--out",
        tmp_path / "out",
        "--quiet",
    )
    code, stdout, stderr = call(capfd, monkeypatch, *words)
    assert code == 0 and not stderr and "too few documents for an interval (1): " in stdout


def test_scan_prints_tables_or_json(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pico_gemma4(tmp_path / "model")
    common = ("scan", model, "--documents", "2", "--offline", "--quiet", "--overwrite", "--out", tmp_path / "out")
    code, stdout, stderr = call(capfd, monkeypatch, *common)
    assert code == 0 and not stderr and "full_attention" in stdout.replace("…", "") or "full" in stdout
    code, stdout, _ = call(capfd, monkeypatch, *common, "--json")
    assert code == 0 and json.loads(stdout)["father"]["model"]["layers"] == 4
    assert str(tmp_path) not in (tmp_path / "out" / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("words", "code", "say"),
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
    say: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, _, stderr = call(capfd, monkeypatch, *words)
    assert got == code and say in stderr and "Traceback" not in stderr
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_names_the_nearest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("father: a\nmother: b\nsearch: {budgett: 3}\n")
    code, _, stderr = call(capfd, monkeypatch, "breed", "--config", path)
    assert code == 2 and "search.budgett" in stderr and "'budget'" in stderr


def test_data_alone_means_the_real_benchmarks(tmp_path: Path) -> None:
    pair = {"father": "a", "mother": "b"}
    assert load_config(None, pair).fitness == {"nursery_click": 0.6, "nursery_musr": 0.4}
    asked = load_config(None, {**pair, "data": "D", "search": {"budget": 3}})
    assert asked.fitness == {"click": 0.6, "musr": 0.4} and asked.bench.tasks == ("click", "musr")
    own = tmp_path / "own.yaml"
    own.write_text("father: a\nmother: b\nfitness: {gpqa: 1}\nbench: {tasks: [gpqa, click]}\n")
    kept = load_config(own, {"data": "D"})
    assert kept.fitness == {"gpqa": 1.0} and kept.bench.tasks == ("gpqa", "click")


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, darwin_mri; assert not {'torch', 'transformers'} & set(sys.modules); darwin_mri.Scan; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nursery_lists_json(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, stdout, _ = call(capfd, monkeypatch, "nursery", "--json")
    rows = json.loads(stdout)
    assert code == 0 and {"name", "path", "family", "role", "sha256"} == set(rows[0]) and len(rows) == 4
