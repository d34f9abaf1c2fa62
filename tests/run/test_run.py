"""A run's folder: its status whatever happens inside, and what an overwritten run leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from darwin_mri.config import Config
from darwin_mri.errors import ConfigError, InputError, SpoiledRun
from darwin_mri.records import Manifest
from darwin_mri.run import Run, open_run
from darwin_mri.run.folder import WRITTEN

CONFIG = Config(father="a", mother="b")


def start(folder: Path, *, resume: bool = False, overwrite: bool = False) -> Run:
    return open_run(folder, CONFIG, ("darwin-mri",), "cpu", resume=resume, overwrite=overwrite)


def status_after(folder: Path, error: BaseException | None) -> tuple[str, str]:
    """(status, note) on disk of a run that ends like this; the error leaves the run as it is."""
    run = start(folder)
    assert Manifest.load(folder / "manifest.json").status == "running"
    if error is None:
        with run:
            pass
    else:
        with pytest.raises(type(error)) as raised, run:
            raise error
        assert raised.value is error
    manifest = Manifest.load(folder / "manifest.json")
    assert manifest == run.manifest
    return manifest.status, manifest.note


@pytest.mark.parametrize(
    ("error", "status", "note"),
    [
        (None, "done", ""),
        (KeyboardInterrupt(), "interrupted", ""),
        (InputError("the first line\nand another"), "failed", "the first line"),
        (RuntimeError(), "failed", "RuntimeError"),
        (SystemExit(4), "failed", "4"),
    ],
)
def test_the_manifest_says_how_a_run_ended(tmp_path: Path, error: BaseException | None, status: str, note: str) -> None:
    assert status_after(tmp_path / "run", error) == (status, note)


def test_a_failed_stage_is_timed_too(tmp_path: Path) -> None:
    def fail(run: Run, number: int, *, word: str) -> None:
        raise InputError(f"{run.folder.name} {number} {word}")

    with pytest.raises(InputError, match="run 3 x"), start(tmp_path / "run") as run:
        assert run.stage("scan", lambda run, number: number + 1, 1) == 2
        run.stage("prior", fail, 3, word="x")
    assert set(Manifest.load(tmp_path / "run" / "manifest.json").seconds) == {"scan", "prior"}


def test_resuming_goes_on_with_the_same_config_only(tmp_path: Path) -> None:
    with start(tmp_path / "run"):
        pass
    run = start(tmp_path / "run", resume=True)
    assert run.keep and Manifest.load(tmp_path / "run" / "manifest.json").status == "running"
    other = CONFIG.model_copy(update={"seed": 9})
    with pytest.raises(ConfigError, match=r"another config \(seed differ\)"):
        open_run(tmp_path / "run", other, (), "cpu", resume=True)


def test_a_record_is_made_once_and_read_when_resuming(tmp_path: Path) -> None:
    def never() -> Manifest:
        raise AssertionError("the record is there")

    run = start(tmp_path / "run")
    record = run.record("copy.json", Manifest, lambda: run.manifest)
    assert not run.has("copy.json")  # a run that begins reads no record
    resumed = start(tmp_path / "run", resume=True)
    assert resumed.has("copy.json") and not resumed.has("copy.json", "genome.json")
    assert resumed.record("copy.json", Manifest, never) == record


def test_overwriting_removes_what_a_run_writes_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with start(folder):
        pass
    written = [pattern.replace("*", "x") for pattern in WRITTEN if pattern != "manifest.json"]
    kept = ("notes.json", "scan.json", "scan/notes.txt", "answers/notes.json", "child/config.json", "state/notes.md")
    for name in (*written, *kept):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(name), encoding="utf-8")
    start(folder, overwrite=True)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {*kept, "manifest.json", "state/config.yaml", "state/lock"}
    assert all(json.loads((folder / name).read_text(encoding="utf-8")) == name for name in kept)
    assert Manifest.load(folder / "manifest.json").status == "running"


def test_a_folder_of_something_else_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "genome.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        start(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is not a folder"):
        start(tmp_path / "genome.json")
    assert [path.name for path in tmp_path.iterdir()] == ["genome.json"]


def test_what_a_killed_run_left_of_a_record_is_gone_when_it_is_resumed(tmp_path: Path) -> None:
    with start(tmp_path / "run"):
        pass
    left = tmp_path / "run" / "scan" / ".pair.json.123.tmp"
    left.parent.mkdir()
    left.write_text("{", encoding="utf-8")
    start(tmp_path / "run", resume=True)
    assert not left.exists()


def test_a_run_whose_parents_changed_is_not_resumed(tmp_path: Path) -> None:
    assert status_after(tmp_path / "run", SpoiledRun("the mother changed")) == ("failed", "the mother changed")
    with pytest.raises(InputError, match=r"cannot be resumed \(the mother changed\): begin anew by --overwrite"):
        start(tmp_path / "run", resume=True)
    assert not start(tmp_path / "run", overwrite=True).manifest.spoiled


def test_a_note_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    error = InputError("the disk of /home/somebody/runs/mine filled up: free 12/13 of it")
    assert status_after(tmp_path / "run", error)[1] == "the disk of mine filled up: free 12/13 of it"
