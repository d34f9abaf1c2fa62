"""``watch``: a run seen while it goes, from its folder alone, and after it; damage and absence are one line."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from darwin_mri.errors import InputError
from darwin_mri.report import LiveRun, Watched, read_live
from darwin_mri.stats.domination import non_dominated
from tests.commands import call, spawn
from tests.family import small

# A toy's stages may be over within the second between two writes of its state.
OFTEN = "from darwin_mri.run import live; live.EVERY = 0.02; from darwin_mri.cli import main; main()"
PATIENCE = 300.0  # seconds, on a busy machine


def breed(family: dict[str, Path], folder: Path, **search: Any) -> subprocess.Popen[bytes]:
    search = {"budget": 9, "population": 3, **search}
    config = small(family, prior={"preset": "flat"}, scan={"documents": 2}, search=search)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-c", OFTEN, "breed", "--config", str(file), "--out", str(folder / "run")]
    return subprocess.Popen([*command, "--force", "--quiet"], stdout=subprocess.DEVNULL)


def test_a_run_is_seen_while_it_goes_and_when_it_is_done(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, looks, end = tmp_path / "run", list[Any](), time.monotonic() + PATIENCE
    with breed(family, tmp_path) as bred:
        while bred.poll() is None and time.monotonic() < end:
            if (run / "manifest.json").is_file():
                looks.append(read_live(run))
            time.sleep(0.05)
        assert bred.wait(1) == 0
    counts = [look.evaluated for look in looks]
    done = [sum(stage.state == "done" for stage in look.stages) for look in looks]
    assert counts == sorted(counts) and done == sorted(done)
    running = [{stage.name for stage in look.stages if stage.state == "running"} for look in looks]
    assert all(len(names) <= 1 for names in running) and {"scan"} in running
    assert any(0 < look.evaluated < look.budget and look.seconds_left for look in looks)
    assert any(look.step and look.step.title.startswith("scan") and look.step_left for look in looks)
    peaks = [look.memory.host or 0 for look in looks if look.memory]
    assert peaks == sorted(peaks) and peaks[0] > 2**20
    code, out, _ = call(capfd, monkeypatch, "watch", run, "--json")
    last = json.loads(out)
    assert code == 0 and last["status"] == "done" and last["evaluated"] == last["budget"] == 9
    assert {stage["state"] for stage in last["stages"]} == {"done"} and last["seconds_left"] is None
    best = max(line["fitness"] for line in map(json.loads, (run / "ledger.jsonl").read_text().splitlines()))
    assert last["best"] == best
    code, out, err = call(capfd, monkeypatch, "watch", run)  # no terminal: once
    assert code == 0 and not err and "9 of 9 candidates" in out and "generation" in out


def test_workers_and_the_front_are_seen_while_the_search_goes(family: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("pymoo")
    watched, looks = Watched(tmp_path / "run"), list[LiveRun]()
    search = {"budget": 13, "items": 40, "strategy": "nsga2", "workers": "devices", "devices": ["cpu", "cpu"]}
    with breed(family, tmp_path, **search) as bred:
        end = time.monotonic() + PATIENCE
        while bred.poll() is None and time.monotonic() < end:
            if (tmp_path / "run" / "manifest.json").is_file():
                looks.append(watched.look())
            time.sleep(0.02)
        assert bred.wait(1) == 0
    at_work = [look.workers for look in looks if look.workers]
    assert all([worker.place for worker in workers] == ["cpu", "cpu"] for workers in at_work)
    assert any(all(worker.state == "busy" and worker.task for worker in workers) for workers in at_work)
    done = [sum(worker.done for worker in look.workers) for look in looks if look.workers and look.evaluated < 13]
    assert done == sorted(done) and done[-1] > 0
    last = looks[-1]
    assert not last.workers and last.objectives == ("nursery_click", "nursery_musr")
    lines = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()]
    points = np.array([[line["scores"][name] for name in last.objectives] for line in lines])
    shown = {tuple(member.scores.values()) for member in last.front}
    assert shown == {tuple(point) for point in points[non_dominated(points)]}
    assert any(0 < look.evaluated < 13 and look.front for look in looks)


def test_a_run_that_was_killed_is_said_to_be_silent(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "run" / "state" / "live.json"
    with breed(family, tmp_path) as bred:
        while not state.is_file():
            assert bred.poll() is None
            time.sleep(0.05)
        bred.kill()
    _, out, _ = call(capfd, monkeypatch, "watch", tmp_path / "run")
    assert "running" in out and "no sign of life" not in out
    live = json.loads(state.read_text())
    state.write_text(json.dumps(live | {"written": live["written"] - 600}))
    _, out, _ = call(capfd, monkeypatch, "watch", tmp_path / "run")
    assert "no sign of life for 10 min" in " ".join(out.split())


def test_a_terminal_is_drawn_until_the_run_ends(family: dict[str, Path], tmp_path: Path) -> None:
    main, inner = pty.openpty()
    with breed(family, tmp_path) as bred:
        while not (tmp_path / "run" / "manifest.json").is_file():
            assert bred.poll() is None
            time.sleep(0.05)
        command = [sys.executable, "-m", "darwin_mri", "watch", str(tmp_path / "run"), "--every", "0.2"]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(command, stdout=inner, stderr=inner, stdin=inner, env=environment) as watching:
            os.close(inner)
            seen = b""
            while True:
                try:
                    part = os.read(main, 65_536)
                except OSError:  # the other end is closed
                    break
                seen += part
            assert watching.wait(PATIENCE) == 0
        assert bred.wait(PATIENCE) == 0
    os.close(main)
    assert b"running" in seen and b"9 of 9 candidates" in seen and b"Traceback" not in seen


def test_a_run_of_before_shows_the_stages_it_had() -> None:
    example = read_live(Path(__file__).parents[2] / "reports" / "nursery" / "david")
    assert {stage.state for stage in example.stages} == {"done"} and example.stages[-1].name == "report"


def test_what_cannot_be_watched_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        read_live(tmp_path)
    done = spawn("watch", tmp_path)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1
