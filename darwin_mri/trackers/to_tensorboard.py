"""TensorBoard: event files in RUN/tensorboard.

They are written by TensorBoard's record writer and not by its ``SummaryWriter``, which puts the host's name into the
file's name.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary as Values  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from darwin_mri.trackers.interface import TENSORBOARD, RunEnd, TrackedRun


class TensorBoardRun:
    """One event file per attempt; TensorBoard reads all of a folder as one run.

    Args:
        run: to log.
    """

    def __init__(self, run: TrackedRun) -> None:
        folder = run.folder / TENSORBOARD
        folder.mkdir(parents=True, exist_ok=True)
        self.id = TENSORBOARD
        self._last = 0
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{run.id[:8]}"
        self._write(Event(file_version="brain.Event:2"))
        if not run.known:
            self._write(Event(summary=hparams_pb(run.settings, trial_id=run.id)))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As ``Tracker``."""
        scalars = [Values.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._last = step
        self._write(Event(step=step, summary=Values(value=scalars)))

    def finish(self, end: RunEnd) -> None:
        """As ``Tracker``; the report lies beside the event files anyway."""
        if end.summary:
            self.log(end.summary, self._last)

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._path.open("ab") as file:  # whole at any time, and nothing is left open where a disk is full
            RecordWriter(file).write(event.SerializeToString())


def open_tracker(run: TrackedRun) -> TensorBoardRun:
    """Open the run."""
    return TensorBoardRun(run)
