"""``breed`` killed by SIGKILL, which runs no clean-up, and resumed: the end is that of an unbroken run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from darwin_mri import pipeline
from darwin_mri.records import Manifest
from tests.pipeline.conftest import small
from tests.reliability.runs import contents, differences

COMMAND = [sys.executable, "-m", "darwin_mri", "breed", "--force", "--quiet", "--offline"]
# As many threads as this process has, whose run the killed one is compared with.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
PATIENCE = 240.0  # seconds after which the test gives up, far above what a start takes


def kill_once(reached: Callable[[], bool], *words: str) -> None:
    """Start a run and kill it as soon as it has come so far; it must not end by itself before."""
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9


def test_a_run_killed_twice_ends_as_an_unbroken_one(family: dict[str, Path], tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    settings = small(family, prior={"preset": "flat"}, scan={"documents": 2}, search={"budget": 8, "population": 4})
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    whole, broken = tmp_path / "whole" / "run", tmp_path / "broken" / "run"  # the child names its run's folder
    pipeline.breed(settings, whole, force=True, offline=True)
    ledger = broken / "ledger.jsonl"
    kill_once(
        lambda: ledger.is_file() and ledger.read_text(encoding="utf-8").count("\n") >= 3,
        *("--config", str(config), "--out", str(broken)),
    )
    assert Manifest.load(broken / "manifest.json").status == "running"  # no clean-up ran
    assert not (broken / "genome.json").exists()
    kill_once(lambda: any((broken / "state" / "answers").glob("*.jsonl")), "--resume", str(broken))
    assert (broken / "genome.json").is_file() and not (broken / "comparison.json").exists()
    pipeline.breed(settings, broken, force=True, resume=True, offline=True)
    assert not differences(broken, contents(whole))
    assert (broken / "comparison.json").read_text() == (whole / "comparison.json").read_text()
