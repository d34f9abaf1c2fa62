"""Hostile inputs in volume: ``python -m tests.fuzz --inputs 10000 --seed 1``, or ``--minutes 5``.

Every input is a sound folder of models, texts, configs and a run with one to three hostile changes, which hypothesis
draws from the seed; one command of darwin_mri reads it in a process of its own. Findings stay in ``OUT/findings``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.hunt import Hunt

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
LIMIT = 10.0  # seconds
RATE = 20  # inputs a second that no machine exceeds


def report_progress(hunts: Sequence[Hunt], inputs: int, seconds: float) -> None:
    """A line on a terminal, over the one before."""
    if not sys.stderr.isatty():
        return
    done, findings = sum(hunt.inputs for hunt in hunts), sum(len(hunt.findings) for hunt in hunts)
    left = seconds * (inputs - done) / max(done, 1) / 60
    sys.stderr.write(f"\r{done:,} of {inputs:,} inputs, {findings} findings, about {left:.0f} min left \x1b[K")
    sys.stderr.flush()


def main() -> int:
    """Read inputs of every kind; exit code 1 where something is wrong."""
    from tests.fuzz.batches import deal, summarise
    from tests.fuzz.hunt import hunt, prepare
    from tests.fuzz.kinds import KINDS
    from tests.fuzz.material import make_material

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, help="how many, over all kinds")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"comma-separated; all: {', '.join(KINDS)}")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds after which a command hangs")
    parser.add_argument("--out", type=Path, help="folder for the cases with findings; a new one when absent")
    options = parser.parse_args()
    if not (options.inputs or options.minutes):
        parser.error("give --inputs or --minutes")
    out = (options.out or Path(tempfile.mkdtemp(prefix="darwin_mri-fuzz-"))).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "material").exists():
        make_material(out / "material")
    began = time.time()
    until = began + 60 * options.minutes if options.minutes else float("inf")
    todo = deal(options.kinds.split(","), options.inputs or int(60 * options.minutes * RATE))
    hunts = []
    with ProcessPoolExecutor(options.workers, get_context("spawn"), prepare) as pool:
        tasks = [
            pool.submit(hunt, kind, 1000 * options.seed + number, inputs, out, options.limit, until)
            for kind, number, inputs in todo
        ]
        for task in as_completed(tasks):
            hunts.append(task.result())
            for what, change, words in hunts[-1].findings:
                print(
                    f"{hunts[-1].kind}: {what}\n    {change}\n    darwin-mri {words}".encode(
                        "utf-8", "replace"
                    ).decode()
                )
            sys.stdout.flush()
            report_progress(hunts, sum(inputs for _, _, inputs in todo), time.time() - began)
    print(summarise(hunts, time.time() - began))
    return int(any(hunt.findings for hunt in hunts))


if __name__ == "__main__":
    sys.exit(main())
