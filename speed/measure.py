"""What every row of the speed table shares: two calls timed in turn, and the row itself."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

ROUNDS = 5


def time_pair(subject: Callable[[], Any], reference: Callable[[], Any], rounds: int = ROUNDS) -> tuple[float, float]:
    """Time two calls in turn after one warm-up, so that a drifting machine affects both alike.

    Args:
        subject: the call that is judged.
        reference: the call it is compared with.
        rounds: timed turns.

    Returns:
        Median seconds of the subject and of the reference.
    """
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for column, call in zip(times, (subject, reference), strict=True):
            began = time.perf_counter()
            call()
            if torch.cuda.is_initialized():  # a device works on after the call
                torch.cuda.synchronize()
            if turn:
                column.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def make_row(name: str, against: str, ratio: float, goal: float, *, lower: bool, detail: str) -> dict[str, Any]:
    """A row of the table.

    Args:
        name: what was measured.
        against: what it is compared with.
        ratio: the result.
        goal: that the ratio should reach.
        lower: whether less is better.
        detail: the absolute figures, in words.

    Returns:
        The row, with ``met`` saying whether the goal is reached.
    """
    met = ratio <= goal if lower else ratio >= goal
    return {"name": name, "against": against, "ratio": round(ratio, 3), "goal": goal, "met": met, "detail": detail}
