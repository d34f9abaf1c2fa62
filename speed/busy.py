"""``make breed`` beside processes that keep every core busy, against the same alone.

As a table's row it breeds as ``make breed`` does; ``python -m speed.busy --budget 8 --out FILE.json`` breeds less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darwin_mri.cores import affine
from speed.breeding import CONFIG
from speed.measure import make_row

GOAL = 2.5
BURN = "while True: pass"


def busy_row(flags: Sequence[str] = (), rounds: int = 1) -> dict[str, Any]:
    """Breed alone and beside one burning process for each core, in turn.

    Args:
        flags: of the command breed, beside its config.
        rounds: turns; the least seconds of each kind count.

    Returns:
        The row; its detail names the load before the first turn, as other work would be counted as "alone".
    """
    load, alone, busy = os.getloadavg()[0], list[float](), list[float]()
    for _ in range(rounds):
        alone.append(_breed(flags))
        with _burning(affine()):
            busy.append(_breed(flags))
    return make_row(
        "make breed, busy cores",
        f"the same alone, {affine()} burning processes",
        min(busy) / min(alone),
        GOAL,
        lower=True,
        detail=f"{min(busy):.0f} s / {min(alone):.0f} s, load before {load:.1f}",
    )


@contextmanager
def _burning(count: int) -> Iterator[None]:
    """Processes that do nothing but compute, ended at the end."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(count)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def _breed(flags: Sequence[str]) -> float:
    """Seconds of the command, which sets its threads itself."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment = {name: value for name, value in environment.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as folder:
        command = [sys.executable, "-m", "darwin_mri", "breed", "--config", str(CONFIG)]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(Path(folder) / "run"), *flags],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        spent = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{done.stderr}breed failed with exit code {done.returncode}")
    return spent


def main() -> None:
    """Measure with a smaller budget, and write the row as JSON."""
    parser = argparse.ArgumentParser(prog="python -m speed.busy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=int, default=8, help="candidates of the search")
    parser.add_argument("--rounds", type=int, default=1, help="turns; the least seconds count")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    arguments = parser.parse_args()
    row = busy_row(("--budget", str(arguments.budget)), arguments.rounds)
    arguments.out.write_text(json.dumps([row], indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row), file=sys.stderr)


if __name__ == "__main__":
    main()
