"""How a run stands while it goes: what its process writes every second for whoever watches; never published."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record

LIVE = "state/live.json"  # in the run folder


class PeakMemory(Part):
    """The most memory that one process has held so far.

    Attributes:
        host: resident bytes; None where the system does not tell.
        devices: device -> bytes of tensors, by torch's account.
    """

    host: int | None = None
    devices: dict[str, int] = {}


class LiveStep(Part):
    """Work of a stage that is counted.

    Attributes:
        title: in words.
        done: steps so far.
        total: steps in all.
        since: when it began, in Unix seconds.
    """

    title: str
    done: int
    total: int
    since: float


class WorkerState(Part):
    """One worker of the search.

    Attributes:
        number: from 0.
        place: "this process", a device, or a Ray actor.
        task: (generation, candidate, block) that it has; None where it waits for one.
        since: when it got the task, or ended its last one, in Unix seconds.
        done: blocks of items it has evaluated.
        replaced: how often its actor died, or was ended because it took too long.
        memory: of its own process; None where that is the run's.
    """

    number: int
    place: str
    task: tuple[int, int, int] | None
    since: float
    done: int = 0
    replaced: int = 0
    memory: PeakMemory | None = None


class LiveState(Record):
    """How a run stands.

    Attributes:
        written: when, in Unix seconds.
        stage: that goes on; where the run has ended, the last one.
        since: when that stage began, in Unix seconds.
        step: of the stage; None where nothing is counted.
        memory: of the run's process.
        workers: of the search that goes on; none beside a search.
    """

    written: float
    stage: str
    since: float
    step: LiveStep | None = None
    memory: PeakMemory = PeakMemory()
    workers: tuple[WorkerState, ...] = ()
