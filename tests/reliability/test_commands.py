"""Every command against the faults of its surroundings: it does its work, or says in one line why it cannot."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.reliability.runs import FEW, Ended, Place, allow_writing, faults_of

Words = tuple[str | Path, ...]
QUIET = ("--offline", "--quiet")
FORCED = ("--force", *QUIET)
FUTURE = 4102444800.0  # the year 2100
NOT_UTF8 = os.fsdecode(b"named \xff")


class Commands:
    """Each command on the same small parents and on a finished run of them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.config = place.configure("plain", **{**FEW, "repair": None, "prior": {"preset": "flat"}})
        self.run = place.root / "finished" / "run"
        ended = place.call("breed", "--config", self.config, "--out", self.run, *FORCED)
        assert ended.code == 0, ended.err

    def words(self, command: str, out: Path) -> Words:
        """A command, and where it writes."""
        father, sister = self.place.family["father"], self.place.family["sister"]
        parents: Words = ("--father", father, "--mother", sister, "--base", self.place.family["base"])
        task = self.place.root / "questions.jsonl"
        lines = [{"question": f"{n} + 1", "choices": [str(n), str(n + 1)], "answer": 1} for n in range(200)]
        task.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        pair: Words = ("--parent", father, "--parent", sister, "--base", self.place.family["base"])
        writes: dict[str, Words] = {
            "init": ("init", *pair, "--task", f"mine={task}", "--yes", "--out", f"{out}.yaml"),
            "plan": ("plan", "--config", self.config, "--offline", "--out", out),
            "scan": ("scan", father, "--documents", "1", "--offline", "--quiet", "--out", out),
            "bench": ("bench", father, "--tasks", "nursery_click", "--limit", "8", "--fast", *QUIET, "--out", out),
            "merge": ("merge", "--genome", self.run / "genome.json", *parents, *QUIET, "--out", out),
        }
        reads: dict[str, Words] = {
            "report": ("report", out, "--quiet"),
            "watch": ("watch", out, "--once"),
            "breed": ("breed", "--resume", out, *FORCED),
        }
        if command in reads:
            shutil.copytree(self.run, out)
        return {**writes, **reads}[command]


ALL = ("init", "plan", "scan", "bench", "merge", "report", "watch", "breed")
WRITING = tuple(command for command in ALL if command not in ("plan", "watch"))


@pytest.fixture(scope="module")
def commands(place: Place) -> Commands:
    return Commands(place)


@pytest.fixture
def out(place: Place, request: pytest.FixtureRequest) -> Path:
    above = place.root / request.node.name
    above.mkdir()
    return above / "run"


def check(commands: Commands, ended: Ended, out: Path, code: int = 0) -> None:
    """What must hold however a command ended."""
    assert ended.code == code and "Traceback" not in ended.err, ended.err
    assert not ended.left and not faults_of(out)
    if code:
        assert len(ended.lines) <= 1


@pytest.mark.parametrize("command", ALL)
def test_stdout_is_closed(commands: Commands, out: Path, command: str) -> None:
    ended = commands.place.call(*commands.words(command, out), closed=True)
    check(commands, ended, out, code=1)
    assert not ended.out and "darwin-mri:" not in ended.err


@pytest.mark.parametrize("command", ALL)
def test_a_terminal_of_20_columns(commands: Commands, out: Path, command: str) -> None:
    ended = commands.place.call(*commands.words(command, out), columns=20)
    check(commands, ended, out)
    assert ended.out and "Traceback" not in ended.out


@pytest.mark.parametrize("command", ALL)
def test_locale_c_and_names_that_are_not_utf8(commands: Commands, out: Path, command: str) -> None:
    ended = commands.place.call(
        *commands.words(command, out.with_name(NOT_UTF8)), encoding="ascii", env={"LC_ALL": "C"}
    )
    code = {"plan": 3, "merge": 1, "breed": 1}.get(command, 0)  # no loader could read a model from there
    check(commands, ended, out.with_name(NOT_UTF8), code)
    assert ("not UTF-8: choose another" in " ".join((ended.out + ended.err).split())) == bool(code)


@pytest.mark.parametrize("command", ALL)
def test_no_home(commands: Commands, out: Path, command: str) -> None:
    check(commands, commands.place.call(*commands.words(command, out), homeless=True), out)


@pytest.mark.parametrize("command", ALL)
def test_caches_that_cannot_be_written(commands: Commands, out: Path, command: str) -> None:
    closed = out.with_name("closed")
    closed.mkdir(mode=0o555)
    env = {name: str(closed / name) for name in ("HOME", "DARWIN_MRI_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR")}
    check(commands, commands.place.call(*commands.words(command, out), env=env), out)
    assert not any(closed.iterdir())


@pytest.mark.parametrize("command", ALL)
def test_the_clock_is_set_back(commands: Commands, out: Path, command: str) -> None:
    words = commands.words(command, out)
    for path in (*commands.place.family["father"].iterdir(), *out.parent.rglob("*")):
        os.utime(path, (FUTURE, FUTURE))
    check(commands, commands.place.call(*words), out)


@pytest.mark.parametrize("command", ALL)
def test_a_read_only_folder(commands: Commands, out: Path, command: str) -> None:
    words = commands.words(command, out)
    for folder in (path for path in (out.parent, *out.parent.rglob("*")) if path.is_dir()):
        folder.chmod(0o555)
    ended = commands.place.call(*words)
    allow_writing(out.parent)
    check(commands, ended, out, code={"plan": 3, "watch": 0}.get(command, 1))
    if command in WRITING:
        assert "Permission denied" in ended.err and str(out.parent) in ended.err


@pytest.mark.parametrize("command", ALL)
def test_a_full_disk(commands: Commands, disk: Path, command: str) -> None:
    out = disk / command / "run"
    out.parent.mkdir()
    words, filler = commands.words(command, out), disk / "filler"
    with filler.open("wb") as stream:
        free = os.statvfs(disk)
        os.posix_fallocate(stream.fileno(), 0, free.f_bavail * free.f_frsize)
    ended = commands.place.call(*words)
    filler.unlink()
    check(commands, ended, out, code={"plan": 3, "watch": 0}.get(command, 1))
    if command in WRITING:
        assert "No space left" in ended.err or "bytes are missing" in ended.err
