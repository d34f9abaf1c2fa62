"""Scores that others have published: shown beside measured ones, without interval, and never part of a contrast."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from darwin_mri.records import Score

UNKNOWN = "protocol unknown"


def published_scores(benchmarks: Iterable[str]) -> tuple[Score, ...]:
    """The published baseline scores on these benchmarks; items, prompt and sampling of none of them are known."""
    text = files("darwin_mri.benchmarks").joinpath("data/published.json").read_text(encoding="utf-8")
    entries: list[dict[str, Any]] = json.loads(text)
    names = set(benchmarks)
    return tuple(
        Score(
            role="baseline",
            slice="all",
            evidence="published",
            protocol=UNKNOWN,
            correct=None,
            n=None,
            low=None,
            high=None,
            chance=None,
            split="unknown",
            metric="unknown",
            **entry,
        )
        for entry in entries
        if entry["benchmark"] in names
    )
