"""Experiment trackers that a run logs to: trackio, wandb, MLflow, TensorBoard. None of them is a dependency.

``trackers`` opens those of a config and keeps their faults from the run; ``values`` says what is logged; each
``to_NAME`` is the one module that imports its package.
"""

from darwin_mri.trackers.interface import TENSORBOARD, RunEnd, TrackedRun, Tracker, tracker_fault
from darwin_mri.trackers.trackers import STATE, Trackers
from darwin_mri.trackers.values import final_values

__all__ = [
    "STATE",
    "TENSORBOARD",
    "RunEnd",
    "TrackedRun",
    "Tracker",
    "Trackers",
    "final_values",
    "tracker_fault",
]
