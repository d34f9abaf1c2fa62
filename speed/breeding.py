"""``make breed`` with everything installed: seconds against a goal of 90 on two cores."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from speed.measure import make_row
from speed.processes import run_apart
from speed.rehearsal import BREED

GOAL_SECONDS = 90
CONFIG = Path(__file__).parents[1] / "configs" / "david.yaml"


def breed_row() -> dict[str, Any]:
    """The whole pipeline in a process of its own, imports left out; the processor's seconds stand beside it."""
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as folder:
        spent = run_apart(BREED, str(CONFIG), str(Path(folder) / "run"), threads=None)
    return make_row(
        "make breed",
        f"{GOAL_SECONDS} s on two idle cores",
        spent["seconds"] / GOAL_SECONDS,
        1.0,
        lower=True,
        detail=f"{spent['seconds']:.0f} s, CPU {spent['cpu']:.0f} s, {spent['peak'] / 1024:.0f} MB resident at most",
    )
