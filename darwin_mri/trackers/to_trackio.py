"""trackio: on this machine, unless its own settings name a Space or a server (TRACKIO_SPACE_ID, TRACKIO_SERVER_URL)."""

from __future__ import annotations

from collections.abc import Mapping

import trackio
from trackio.run import Run

from darwin_mri.trackers.interface import PROJECT, RunEnd, TrackedRun


class TrackioRun:
    """A run of trackio.

    Args:
        run: to log.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.id, self._last = run.name, 0
        Run._get_username = lambda self: None  # it would ask the hub who is logged in, and log that
        self.run = trackio.init(
            PROJECT,
            name=run.name,
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As ``Tracker``."""
        self._last = step
        self.run.log(dict(values), step=step)

    def finish(self, end: RunEnd) -> None:
        """As ``Tracker``."""
        if end.summary:
            self.run.log(dict(end.summary), step=self._last)
        for file in end.files:
            self.run.log_artifact(file, name=f"{self.id}-{file.name}", type="report")
        trackio.finish()


def open_tracker(run: TrackedRun) -> TrackioRun:
    """Open the run."""
    return TrackioRun(run)
