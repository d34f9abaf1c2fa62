"""The state of a run for whoever watches: written whole while it goes, and never in its way."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from darwin_mri.config import Config
from darwin_mri.records import LiveState, WorkerState
from darwin_mri.records.live import LIVE
from darwin_mri.run import Run, open_run
from darwin_mri.run import live as live_module

PATIENCE = 60.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(live_module, "EVERY", 0.01)
    return open_run(tmp_path / "run", Config(father="a", mother="b"), ("darwin-mri",), "cpu")


def until(run: Run, field: str, wanted: object) -> LiveState:
    """The first state on disk whose field is so."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if run.path(LIVE).is_file() and getattr(state := LiveState.load(run.path(LIVE)), field) == wanted:
            return state
        time.sleep(0.005)
    raise AssertionError(f"{field} never became {wanted}")


def test_stage_steps_and_workers_are_on_disk_while_they_last(run: Run) -> None:
    worker = WorkerState(number=0, place="cuda:0", task=(1, 2, 3), since=5.0)
    with run:
        with run.timed("scan"), run.progress.stage("reading", 8) as advance:
            advance(3)
            state = until(run, "stage", "scan")
            while state.step is None or state.step.done != 3:
                state = LiveState.load(run.path(LIVE))
            assert (state.step.title, state.step.total) == ("reading", 8) and (state.memory.host or 0) > 2**20
        until(run, "step", None)
        run.live.set_workers((worker,))
        assert until(run, "workers", (worker,)).written <= time.time()
    last = LiveState.load(run.path(LIVE))
    assert not last.workers and last.stage == "scan"
    assert [path.name for path in run.path("state").iterdir() if path.name.startswith(".")] == []


def test_a_state_that_cannot_be_written_is_no_fault_of_the_run(run: Run) -> None:
    run.path(LIVE).mkdir(parents=True)
    with run, run.timed("scan"):
        time.sleep(0.05)
    assert run.manifest.status == "done"
