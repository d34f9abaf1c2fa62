"""What every row of the speed table shares: two calls timed in turn, and the row itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

ROUNDS = 5


def pairs(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median seconds of both, run in turn after one warm-up, so that a drifting machine hits both alike."""
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for mine, call in zip(times, (ours, theirs), strict=True):
            began = time.perf_counter()
            call()
            if torch.cuda.is_initialized():  # a device works on after the call
                torch.cuda.synchronize()
            if turn:
                mine.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def row(name: str, against: str, ratio: float, goal: float, *, lower: bool, detail: str) -> dict[str, Any]:
    """A row of the table: how ``ratio`` stands to ``goal``; ``lower`` where less is better."""
    met = ratio <= goal if lower else ratio >= goal
    return {"name": name, "against": against, "ratio": round(ratio, 3), "goal": goal, "met": met, "detail": detail}
