"""MLflow: by its client, whose runs, unlike those of ``mlflow.start_run``, get no user and no path of the program.

Where runs go is MLflow's own setting: MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping

from darwin_mri.trackers.interface import PROJECT, Ending, RunEnd, TrackedRun

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when the package is imported

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

STATUS: dict[Ending, str] = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
AT_ONCE = 100  # parameters in a request, MLflow's limit
LONGEST = 6000  # characters of a parameter, MLflow's limit


class MlflowRun:
    """A run of MLflow.

    Args:
        run: to log.
    """

    def __init__(self, run: TrackedRun) -> None:
        for name in ("mlflow", "alembic"):  # a new database is announced in ten lines
            logging.getLogger(name).setLevel(logging.ERROR)
        self.client = MlflowClient()
        self._last = 0
        if run.known:
            self.id = run.known
            self.client.update_run(self.id, status="RUNNING")
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        self.id = self.client.create_run(experiment, run_name=run.name).info.run_id
        params = [Param(key, str(value)[:LONGEST]) for key, value in run.settings.items()]
        for first in range(0, len(params), AT_ONCE):
            self.client.log_batch(self.id, params=params[first : first + AT_ONCE])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """As ``Tracker``."""
        self._last, now = step, int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def finish(self, end: RunEnd) -> None:
        """As ``Tracker``."""
        if end.summary:
            self.log(end.summary, self._last)
        for file in end.files:
            self.client.log_artifact(self.id, str(file))
        self.client.set_terminated(self.id, STATUS[end.ending])


def open_tracker(run: TrackedRun) -> MlflowRun:
    """Open the run."""
    return MlflowRun(run)
