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

import pytest
import yaml

from darwin_mri.errors import InputError
from darwin_mri.report import read_live
from tests.commands import call, spawn
from tests.family import small

PATIENCE = 300.0  # seconds, on a busy machine


def breed(family: dict[str, Path], folder: Path) -> subprocess.Popen[bytes]:
    config = small(family, prior={"preset": "flat"}, scan={"documents": 2}, search={"budget": 9, "population": 3})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "darwin_mri", "breed", "--config", str(file), "--out", str(folder / "run")]
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
    code, out, _ = call(capfd, monkeypatch, "watch", run, "--json")
    last = json.loads(out)
    assert code == 0 and last["status"] == "done" and last["evaluated"] == last["budget"] == 9
    assert {stage["state"] for stage in last["stages"]} == {"done"} and last["seconds_left"] is None
    best = max(line["fitness"] for line in map(json.loads, (run / "ledger.jsonl").read_text().splitlines()))
    assert last["best"] == best
    code, out, err = call(capfd, monkeypatch, "watch", run)  # no terminal: once
    assert code == 0 and not err and "9 of 9 candidates" in out and "generation" in out


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
