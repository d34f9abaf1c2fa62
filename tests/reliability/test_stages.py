"""Every stage of a run against the faults that end it: what is said, what is left, and that ``--resume`` mends it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.runs import (
    CROSSING,
    STAGES,
    Ended,
    Place,
    allow_writing,
    contents,
    differences,
    faults_of,
)
from tests.slow import slow_param

FORCED = ("--force", "--offline", "--quiet")
NO_MEMORY = "does not fit in memory"


@dataclass(frozen=True)
class Fault:
    """A fault and how a run ends by it.

    Attributes:
        strike: function of ``strikes``.
        code: exit code.
        says: pattern of its one line; None where nothing can be said.
        status: what the manifest may say afterwards.
        spared: stages that it cannot hurt.
    """

    strike: str
    code: int
    says: str | None
    status: tuple[str, ...]
    spared: tuple[str, ...] = ()


ANY = ("running", "failed")
FAULTS = {
    "SIGKILL": Fault("kill", -9, None, ("running",)),
    "SIGTERM": Fault("terminate", -15, None, ("running",)),
    "Ctrl-C twice": Fault(
        "interrupt_twice", 130, r"interrupted; continue with: darwin-mri breed --resume \S+", ("interrupted", "running")
    ),
    "full disk": Fault("fill_disk", 1, r"No space left on device: free space|filled up: about [\d,]+ of", ANY),
    "quota": Fault("exceed_quota", 1, "Disk quota exceeded: free space within the quota and run again", ANY),
    "read-only folder": Fault("forbid_writing", 1, "Permission denied: check the path and its permissions", ANY),
    "GPU out of memory": Fault("run_out_of_memory", 1, NO_MEMORY, ("failed",), spared=("report",)),
}  # fmt: skip
# Others go the same way: SIGKILL as SIGTERM does, a folder that takes no more as a quota that is used up.
CASES = [slow_param(name) if name in ("SIGTERM", "quota") else name for name in FAULTS]
CHAINED = tuple(stage for stage in STAGES if stage != "donors")  # siblings have none: the crossing's own test


@dataclass(frozen=True)
class Struck:
    """A run after a fault, before it is resumed."""

    ended: Ended
    status: str
    half_written: list[str]
    strays: list[str]


class Chain:
    """A run that a fault ends in each stage in turn, and that is resumed each time."""

    def __init__(self, place: Place, run: Path, config: Path) -> None:
        self.place, self.run, self.env = place, run, dict[str, str]()
        self.first = ("breed", "--config", config, "--out", run, *FORCED)

    def strike(self, fault: Fault, stage: str, number: int) -> Struck:
        """End the run, or what is left of it, in a stage."""
        order = {"folder": str(self.run), "strike": fault.strike, "point": [stage, number], "env": self.env}
        ended = self.place.call(*self.words, **order)
        (self.run.parent / "filler").unlink(missing_ok=True)
        if fault.strike == "forbid_writing":
            allow_writing(self.run)
        manifest = self.run / "manifest.json"
        status = json.loads(manifest.read_text(encoding="utf-8"))["status"] if manifest.is_file() else ""
        return Struck(ended, status, faults_of(self.run), self.place.strays())

    @property
    def words(self) -> tuple[str | Path, ...]:
        """The command that goes on, or begins."""
        return ("breed", "--resume", self.run, *FORCED) if (self.run / "manifest.json").is_file() else self.first

    def resume(self) -> Ended:
        """Let the run come to its end."""
        return self.place.call(*self.words, folder=str(self.run))


Whole = tuple[dict[str, Any], dict[str, int]]


@pytest.fixture(scope="module")
def whole(place: Place) -> Whole:
    """An unbroken run's contents, and how many files each stage opens for writing."""
    chain = Chain(place, place.root / "whole" / "run", place.configure())
    ended = place.call(*chain.first, folder=str(chain.run), strike="nothing")
    assert ended.code == 0, ended.err
    assert not faults_of(chain.run) and not place.strays()
    return contents(chain.run), ended.counts


@pytest.fixture(scope="module", params=CASES)
def chain(
    request: pytest.FixtureRequest, place: Place, whole: Whole
) -> tuple[str, dict[str, Struck], Ended, list[str]]:
    """A fault in each stage in turn: (the fault, stage -> the run after it, the last resume, what differs then)."""
    fault = FAULTS[request.param]
    above = request.getfixturevalue("disk") if fault.strike == "fill_disk" else place.root / fault.strike
    chain = Chain(place, above / "run", place.configure())
    struck = {
        stage: chain.strike(fault, stage, (whole[1][stage] + 1) // 2) for stage in CHAINED if stage not in fault.spared
    }
    return request.param, struck, chain.resume(), differences(chain.run, whole[0])


def check(fault: Fault, stage: str, after: Struck) -> None:
    """What must hold after any fault."""
    assert after.ended.code == fault.code, after.ended.err
    if fault.says is None:
        assert not after.ended.err
    else:
        assert len(after.ended.lines) == 1 and re.search(fault.says, after.ended.err), after.ended.err
    assert after.status in (fault.status if stage != "report" else ("done",))  # all but its pages is there
    assert not after.half_written and not after.strays and not after.ended.left


@pytest.mark.parametrize("stage", CHAINED)
def test_a_fault_in_a_stage(chain: tuple[str, dict[str, Struck], Ended, list[str]], stage: str) -> None:
    name, struck, _, _ = chain
    if stage in FAULTS[name].spared:
        assert stage == "report"  # it computes nothing
        return
    check(FAULTS[name], stage, struck[stage])


def test_resuming_after_a_fault_in_every_stage(chain: tuple[str, dict[str, Struck], Ended, list[str]]) -> None:
    _, _, resumed, different = chain
    assert resumed.code == 0 and not resumed.err and not different


@pytest.fixture(scope="module")
def crossing(place: Place) -> tuple[Path, dict[str, Any]]:
    """An unbroken run of parents of two architectures."""
    run = place.root / "crossing" / "run"
    ended = place.call("breed", "--config", place.configure("crossing", **CROSSING), "--out", run, *FORCED)
    assert ended.code == 0, ended.err
    return run, contents(run)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_while_donors_are_built(
    request: pytest.FixtureRequest, place: Place, crossing: tuple[Path, dict[str, Any]], name: str
) -> None:
    fault, (run, whole) = FAULTS[name], crossing
    above = request.getfixturevalue("disk") / "donors" if fault.strike == "fill_disk" else place.root / "donors" / name
    chain = Chain(place, Path(shutil.copytree(run, above / "run")), place.root / "crossing.yaml")
    (chain.run / "donors.json").unlink()
    shutil.rmtree(chain.run / "state" / "donors")
    check(fault, "donors", chain.strike(fault, "donors", 1))
    resumed = chain.resume()
    assert resumed.code == 0 and not differences(chain.run, whole), resumed.err


CHANGED = Fault("change_parent", 1, "weights (of the mother were changed on disk before stage|differ)", ("failed",))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "report"])
def test_a_parent_that_changes(place: Place, crossing: tuple[Path, dict[str, Any]], stage: str) -> None:
    mother = place.family["mother"] / "model.safetensors"
    before, other = mother.read_bytes(), place.root / "other.safetensors"
    other.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    run = Path(shutil.copytree(crossing[0], place.root / "changed" / stage / "run"))
    chain = Chain(place, run, place.root / "crossing.yaml")
    chain.env = {"RELIABILITY_OLD": str(mother), "RELIABILITY_NEW": str(other)}
    try:
        check(CHANGED, stage, chain.strike(CHANGED, stage, 0))
        refused = chain.resume()
        assert refused.code == 1 and len(refused.lines) == 1
    finally:
        mother.write_bytes(before)
    again = chain.resume()  # with the old weights back: what was written meanwhile may rest on the others
    if stage == "inputs":  # nothing was written yet
        assert again.code == 0, again.err
    else:
        assert again.code == 1 and len(again.lines) == 1 and "cannot be resumed" in again.err


@pytest.fixture(scope="module")
def met(place: Place, whole: Whole) -> tuple[dict[str, Ended], Ended, list[str]]:
    """A run that stands still in each stage while a second one starts: (the second ones, the run, what differs)."""
    run = place.root / "twice" / "run"
    chain = Chain(place, run, place.configure())
    pid, said = place.start(*chain.first, folder=str(run), strike="stop", point=["every", 0])
    seconds: dict[str, Ended] = {}
    for stage in (*STAGES[:4], "references", *STAGES[4:]):
        while state_of(pid) != "T":
            assert state_of(pid) != "Z", said.with_name(said.name + ".err").read_text()
            time.sleep(0.01)
        seconds[stage] = place.call(*chain.words)
        place.server.ask(kill=pid, signal=signal.SIGCONT)
    return seconds, place.end(pid, said), differences(run, whole[0])


def state_of(pid: int) -> str:
    """A letter for what a process does, of Linux's own list: T where it stands still, Z where it has ended."""
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2][0]


@pytest.mark.parametrize("stage", STAGES)
def test_a_second_run_on_the_same_folder(met: tuple[dict[str, Ended], Ended, list[str]], stage: str) -> None:
    seconds, first, different = met
    assert seconds[stage].code == 1 and len(seconds[stage].lines) == 1
    assert "another run is writing to" in seconds[stage].err
    assert first.code == 0 and not first.err and not different
