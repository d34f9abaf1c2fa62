"""wandb (Weights & Biases): offline in RUN/state/wandb, unless WANDB_MODE says otherwise; ``wandb sync`` publishes it.

All that it collects of the machine is switched off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from darwin_mri.trackers.interface import PROJECT, RunEnd, TrackedRun

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # of its own crashes, to its maker

import wandb


class WandbRun:
    """A run of wandb.

    Args:
        run: to log.
    """

    def __init__(self, run: TrackedRun) -> None:
        folder = Path(os.environ.get("WANDB_DIR") or run.folder / "state")
        folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            mode=os.environ.get("WANDB_MODE", "offline"),  # pyright: ignore[reportArgumentType]
            silent=True,
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            host="",
            program="darwin-mri",
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        )
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.id = run.id
        self.run = wandb.init(
            project=project,
            name=run.name,
            id=run.id,
            resume="allow",
            dir=folder,
            config=dict(run.config),
            settings=settings,
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As ``Tracker``."""
        self.run.log(dict(values), step=step)

    def finish(self, end: RunEnd) -> None:
        """As ``Tracker``."""
        self.run.summary.update(dict(end.summary))
        # No wandb.Artifact: its record names the folder that it is staged in, under the user's home.
        for file in end.files:
            self.run.log({file.stem: wandb.Html(file.read_text(encoding="utf-8"), inject=False)})
        self.run.finish(exit_code=0 if end.ending == "done" else 1)


def open_tracker(run: TrackedRun) -> WandbRun:
    """Open the run."""
    return WandbRun(run)
