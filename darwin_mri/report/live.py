"""A run while it goes, read from its folder alone: what is done, what goes on, and how the search stands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from darwin_mri.config_sections import FRONTS
from darwin_mri.errors import InputError
from darwin_mri.records import LiveState, LiveStep, Manifest, PeakMemory, WorkerState
from darwin_mri.records.live import LIVE
from darwin_mri.report.live_search import LedgerTail, LiveGeneration, LiveMember

# Stage -> the file it ends with; a stage without one has ended when the manifest has its seconds.
STAGES = {
    "inputs": "inputs.json",
    "scan": "",
    "moments": "",
    "donors": "",
    "references": "",
    "prior": "prior.json",
    "validation": "",
    "search": "genome.json",
    "repair": "",
    "child": "child.json",
    "health": "health.json",
    "bench": "comparison.json",
    "report": "report.html",
}
OF_A_SCAN = ("inputs", "scan", "moments", "donors", "references", "prior", "validation")
SILENT_AFTER = 60.0  # seconds without a sign of life after which a run that says it goes on may be dead


@dataclass(frozen=True)
class LiveStage:
    """A stage.

    Attributes:
        name: of the stage.
        state: "done", "running", "stopped" or "to come".
        seconds: it took over all attempts; of the one that goes on, so far.
    """

    name: str
    state: str
    seconds: float


@dataclass(frozen=True)
class LiveWorker:
    """A worker of the search.

    Attributes:
        number: from 0.
        place: this process, a device, or a Ray actor.
        state: "busy" or "idle".
        seconds: it has been so.
        task: (generation, candidate, block) that it has.
        done: blocks of items it has evaluated.
        replaced: how often its actor died or was ended.
        memory: the most that its own process has held, in bytes; None where that is the run's.
    """

    number: int
    place: str
    state: str
    seconds: float
    task: tuple[int, int, int] | None
    done: int
    replaced: int
    memory: PeakMemory | None


@dataclass(frozen=True)
class LiveRun:
    """A run as its folder shows it now.

    Attributes:
        name: of the run.
        status: of the manifest: running, done, interrupted or failed.
        note: why it failed.
        device: that it computes on.
        silent: seconds since its last sign of life; None where it gives none or has ended.
        stages: in their order.
        step: counted work of the stage that goes on.
        step_left: seconds that this work still takes at its mean pace; None while there is no pace.
        memory: the most that the run's process has held; None for a run of an older version.
        workers: of the search that goes on.
        generations: of the search so far.
        objectives: tasks of the front; none where one fitness is searched by.
        front: candidates so far that no other one dominates.
        evaluated: candidates so far.
        budget: candidates of the search.
        best: the highest fitness so far of a candidate that keeps the limits; None before there is one.
        items: item evaluations so far.
        seconds_left: of the search, at its mean pace; None while there is no pace.
    """

    name: str
    status: str
    note: str
    device: str
    silent: float | None
    stages: tuple[LiveStage, ...]
    step: LiveStep | None
    step_left: float | None
    memory: PeakMemory | None
    workers: tuple[LiveWorker, ...]
    generations: tuple[LiveGeneration, ...]
    objectives: tuple[str, ...]
    front: tuple[LiveMember, ...]
    evaluated: int
    budget: int
    best: float | None
    items: int
    seconds_left: float | None

    @property
    def is_silent(self) -> bool:
        """Whether a run that says it goes on gave no sign of life for long."""
        return self.silent is not None and self.silent > SILENT_AFTER


class Watched:
    """A run that is looked at again and again.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ledger: LedgerTail | None = None
        self._created = ""

    def look(self) -> LiveRun:
        """Read how the run stands, of the ledger only what was appended.

        Raises:
            InputError: the folder holds no run.
        """
        path = self.folder / "manifest.json"
        if not path.is_file():
            raise InputError(f"{self.folder} holds no run: name the folder that breed or scan writes (reports/NAME)")
        manifest = Manifest.load(path)
        config: dict[str, Any] = dict(manifest.config)
        search: dict[str, Any] = config.get("search") or {}
        ledger = self._read_ledger(manifest, config, search)
        state = self._read_state()
        running, now = manifest.status == "running", time.time()
        workers = _workers(state.workers, now) if running and state else ()
        generations = ledger.generations()
        step_left = _step_left(state.step, now) if running and state else None
        budget = int(search.get("budget") or len(ledger.lines))
        return LiveRun(
            name=str(config.get("name") or self.folder.name),
            status=manifest.status,
            note=manifest.note,
            device=manifest.device,
            silent=max(0.0, now - state.written) if running and state else None,
            stages=_stages(self.folder, manifest, config, state),
            step=state.step if running and state else None,
            step_left=step_left,
            memory=state.memory if state else None,
            workers=workers,
            generations=generations,
            objectives=ledger.objectives,
            front=ledger.front(),
            evaluated=len(ledger.lines),
            budget=budget,
            best=generations[-1].best_so_far if generations else None,
            items=generations[-1].items if generations else 0,
            seconds_left=self._search_left(ledger, budget, workers, step_left),
        )

    def _read_ledger(self, manifest: Manifest, config: dict[str, Any], search: dict[str, Any]) -> LedgerTail:
        if self._ledger is None or self._created != manifest.created:  # else the folder holds another run by now
            several = search.get("strategy") in FRONTS
            self._ledger = LedgerTail(
                self.folder / "ledger.jsonl", tuple(config.get("fitness") or ()) if several else ()
            )
            self._created = manifest.created
        self._ledger.read()
        return self._ledger

    def _read_state(self) -> LiveState | None:
        """The state that the run's process writes; None of an older version's run, or before it is written."""
        try:
            return LiveState.load(self.folder / LIVE)
        except InputError:
            return None

    def _search_left(
        self, ledger: LedgerTail, budget: int, workers: Sequence[LiveWorker], step_left: float | None
    ) -> float | None:
        """By the candidates' seconds, or by the clock where that takes longer; the clock of a resumed search lies."""
        if not ledger.lines or len(ledger.lines) >= budget or (self.folder / "genome.json").is_file():
            return None
        pace = fmean(line.seconds for line in ledger.lines) / max(1, len(workers))
        return max(pace * max(0, budget - len(ledger.lines)), (step_left or 0.0) if workers else 0.0)


def read_live(folder: Path) -> LiveRun:
    """Look at a run folder once; errors as ``Watched.look``."""
    return Watched(folder).look()


def _step_left(step: LiveStep | None, now: float) -> float | None:
    """Seconds that counted work still takes."""
    if step is None or not step.done:
        return None
    return (now - step.since) / step.done * max(0, step.total - step.done)


def _workers(states: tuple[WorkerState, ...], now: float) -> tuple[LiveWorker, ...]:
    return tuple(
        LiveWorker(
            state.number,
            state.place,
            "idle" if state.task is None else "busy",
            max(0.0, now - state.since),
            state.task,
            state.done,
            state.replaced,
            state.memory,
        )
        for state in states
    )


def _stages(folder: Path, manifest: Manifest, config: dict[str, Any], state: LiveState | None) -> tuple[LiveStage, ...]:
    """Every stage of the run; the one that goes on is the one its process names, else the first that is not done."""
    stages, waiting = list[LiveStage](), True
    running = manifest.status == "running"
    named = state is not None and bool(state.stage)  # before, a record may be there whose stage still goes on
    for name, file in STAGES.items():
        if name == "validation" and not (config.get("scan") or {}).get("validation"):
            continue
        if name == "repair" and not config.get("repair"):
            continue
        if manifest.argv[1:2] == ("scan",) and name not in OF_A_SCAN:
            continue
        seconds = float(manifest.seconds.get(name, 0.0))
        now_on = manifest.status != "done" and state is not None and state.stage == name
        ended = (folder / file).is_file() if file and (named or not running) else name in manifest.seconds
        if waiting and not now_on and ended:
            stages.append(LiveStage(name, "done", seconds))
        elif manifest.status == "done":  # a scan has fewer stages, and an older run had
            continue
        elif waiting:
            waiting = False
            seconds += max(0.0, time.time() - state.since) if running and now_on and state else 0.0
            stages.append(LiveStage(name, "running" if running else "stopped", seconds))
        else:
            stages.append(LiveStage(name, "to come", 0.0))
    return tuple(stages)
