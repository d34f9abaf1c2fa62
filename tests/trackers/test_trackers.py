"""Runs logged to the real packages, offline: what they keep, what they are not told, what a resumed run adds to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

from darwin_mri.config import make_config
from darwin_mri.config_methods import TrackerName
from darwin_mri.errors import ConfigError
from darwin_mri.planning import require_surroundings
from darwin_mri.trackers import Trackers, tracker_fault
from tests.trackers.attempt import CONFIG, FINAL, HOST

NAMES: tuple[str, ...] = get_args(TrackerName)
USER = "user-of-nobody"
ROOT = Path(__file__).parents[2]


def surroundings(folder: Path) -> dict[str, str]:
    """A user whose name would be noticed, who has set nothing but where trackers keep their files."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "MLFLOW_", "TRACKIO_", "WANDB_"))
    }
    return ours | {
        "HOME": str(folder / f"home-{USER}"),
        "HF_TOKEN": "hf_of_nobody",  # whose user trackio would look up
        "LOGNAME": USER,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)])),
        "TRACKIO_DIR": str(folder / "trackio"),
        "USER": USER,
    }


def attempt(name: str, folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.trackers.attempt", name, str(folder), what]
    return subprocess.run(
        command, cwd=folder, env=surroundings(folder), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module", params=NAMES)
def logged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A tracker and a run folder: interrupted after three generations, resumed, and done after five."""
    if find_spec(request.param) is None:
        pytest.skip(f"needs pip install 'darwin-mri[{request.param}]'")
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "report.html").write_text("<p>a report</p>")
    for what in ("first", "again"):
        done = attempt(request.param, folder, what)
        assert done.returncode == 0 and done.stdout == "started\n", done.stderr
        assert "log:" not in done.stderr, done.stderr
    return request.param, folder


def test_a_resumed_run_goes_on_in_the_same_tracker_run(logged: tuple[str, Path]) -> None:
    name, folder = logged
    done = attempt(name, folder, "read")
    assert done.returncode == 0, done.stderr
    kept: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert kept["runs"] == 1 and kept["files"] == 1
    steps = [step for step, values in kept["points"] if "fitness/best" in values]
    assert steps == [0, 1, 2, 3, 4]  # none twice, although the resumed search replays the first three
    best = {step: values["fitness/best"] for step, values in kept["points"] if "fitness/best" in values}
    assert best == pytest.approx({step: step / 10 for step in range(5)})
    assert not any("fitness/mean" in values or "fitness/step-size" in values for _, values in kept["points"])
    last = {key: value for _, values in kept["points"] for key, value in values.items() if key in FINAL}
    assert last == pytest.approx(FINAL)
    settings = kept["settings"]
    budget = settings["search"]["budget"] if "search" in settings else settings["search.budget"]
    assert int(float(budget)) == 40 and int(float(settings["seed"])) == 7
    told = json.dumps(kept)
    assert HOST not in told and USER not in told and str(folder) not in told


def test_no_host_user_or_folder_is_in_what_a_tracker_would_publish(logged: tuple[str, Path]) -> None:
    name, folder = logged
    private = [HOST.encode(), USER.encode()]
    # MLflow's own database must say where the files beside it are; all it would publish is read above.
    private += [] if name == "mlflow" else [str(folder).encode()]
    kept = [path for path in folder.rglob("*") if path.is_file() and "home-" not in str(path.relative_to(folder))]
    local = [path for path in kept if path.name.startswith("debug")]  # wandb's logs, which it sends nowhere
    assert len(kept) > len(local) + 2
    for path in set(kept) - set(local):
        assert not [word for word in private if word in path.read_bytes() or word in path.name.encode()], path


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_one_line_that_names_the_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darwin_mri.trackers.interface.find_spec", lambda _: None)
    config = make_config({"father": "a", "mother": "b", "log": [name]}, "test")
    with pytest.raises(ConfigError, match=rf"^log: {name} is not installed: pip install 'darwin-mri\[{name}\]'$"):
        require_surroundings(config, tmp_path / "run")
    assert tracker_fault(name)


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ConfigError, match="log"):
        make_config({"father": "a", "mother": "b", "log": ["aim"]}, "test")


def test_a_tracker_that_cannot_begin_costs_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("in the way")
    said = list[str]()
    trackers = Trackers(["tensorboard"], tmp_path, CONFIG, say=said.append)
    for step in range(3):
        trackers.log({"fitness/best": 0.5}, step)
    trackers.finish(FINAL, tmp_path / "report.html")
    assert len(said) == 1 and said[0].startswith("log: tensorboard failed and gets nothing more (FileExistsError")


def test_a_disk_that_is_full_in_the_middle_costs_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    said = list[str]()
    trackers = Trackers(["tensorboard"], tmp_path, CONFIG, say=said.append)
    trackers.log({"fitness/best": 0.5}, 0)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.read_bytes()
    events.unlink()
    events.symlink_to("/dev/full")
    for step in (1, 2):
        trackers.log({"fitness/best": 0.5}, step)
    trackers.finish(FINAL, tmp_path / "report.html")
    assert len(said) == 1 and "No space left on device" in said[0]
