"""A run while it goes, read from its folder alone: what is done, what goes on, and how the search stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from darwin_mri.errors import InputError
from darwin_mri.records import Manifest
from darwin_mri.report.charts import Generation
from darwin_mri.report.model.run_records import read_ledger
from darwin_mri.report.sections.search_course import summarise

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
LAST_ROWS = 8  # generations that are shown


@dataclass(frozen=True)
class LiveStage:
    """A stage.

    Attributes:
        name: of the stage.
        state: "done", "running", "stopped" or "to come".
        seconds: it took, or has taken before it was interrupted.
    """

    name: str
    state: str
    seconds: float


@dataclass(frozen=True)
class LiveRun:
    """A run as its folder shows it now.

    Attributes:
        name: of the run.
        status: of the manifest: running, done, interrupted or failed.
        note: why it failed.
        stages: in their order.
        generations: of the search so far.
        evaluated: candidates so far.
        budget: candidates of the search.
        best: the highest fitness so far of a candidate that keeps the limits; None before there is one.
        items: item evaluations so far.
        seconds_left: of the search, at its mean pace; None while there is no pace.
    """

    name: str
    status: str
    note: str
    stages: tuple[LiveStage, ...]
    generations: tuple[Generation, ...]
    evaluated: int
    budget: int
    best: float | None
    items: int
    seconds_left: float | None


def read_live(folder: Path) -> LiveRun:
    """Read a run folder; a line that is being written is left out.

    Raises:
        InputError: the folder holds no run.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no run: name the folder that breed or scan writes (reports/NAME)")
    manifest = Manifest.load(path)
    config: dict[str, Any] = dict(manifest.config)
    lines = read_ledger(folder / "ledger.jsonl", [])
    generations = summarise(lines)
    budget = int((config.get("search") or {}).get("budget") or len(lines))
    pace = fmean(line.seconds for line in lines) if lines else None
    left = None if pace is None or (folder / "genome.json").is_file() else pace * max(0, budget - len(lines))
    return LiveRun(
        name=str(config.get("name") or folder.name),
        status=manifest.status,
        note=manifest.note,
        stages=_stages(folder, manifest, config),
        generations=generations,
        evaluated=len(lines),
        budget=budget,
        best=generations[-1].best_so_far if generations else None,
        items=sum(line.items for line in lines),
        seconds_left=left,
    )


def _stages(folder: Path, manifest: Manifest, config: dict[str, Any]) -> tuple[LiveStage, ...]:
    stages, waiting = list[LiveStage](), True
    for name, file in STAGES.items():
        if name == "validation" and not (config.get("scan") or {}).get("validation"):
            continue
        if name == "repair" and not config.get("repair"):
            continue
        seconds = float(manifest.seconds.get(name, 0.0))
        if (folder / file).is_file() if file else name in manifest.seconds:
            state = "done"
        elif manifest.status == "done":  # a scan has fewer stages, and an older run had
            continue
        elif waiting:
            state, waiting = "running" if manifest.status == "running" else "stopped", False
        else:
            state = "to come"
        stages.append(LiveStage(name, state, seconds))
    return tuple(stages)
