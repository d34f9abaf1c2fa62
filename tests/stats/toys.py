"""Answers made by a seeded generator: clusters share a difficulty, so their items are correlated."""

from __future__ import annotations

import numpy as np

from darwin_mri.records import Answer


def make_answers(benchmark: str, credits: list[float], per_cluster: int = 1, slices: int = 2) -> list[Answer]:
    """Answers with the given credits, ``per_cluster`` items to a cluster."""
    return [
        Answer(
            key=f"{benchmark}-{row}",
            cluster=f"{benchmark}-c{row // per_cluster}",
            slice=f"s{row % slices}",
            gold=0,
            choice=0 if credit == 1 else 1,
            credit=credit,
            log_probabilities=(-1.0, -2.0, -3.0, -4.0),
        )
        for row, credit in enumerate(credits)
    ]


def draw_credits(rng: np.random.Generator, accuracy: float, n: int) -> list[float]:
    """Right-or-wrong credits of ``n`` items."""
    return [float(right) for right in rng.random(n) < accuracy]
