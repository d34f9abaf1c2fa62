"""The MRI and the units of a plan, some at a time, each in a process with one thread."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from darwin_mri.children import end_with_parent
from proving.specialists import Specialists
from proving.study.mri import scan_pair
from proving.study.plan import Plan
from proving.study.units import Unit, measure_unit


def measure(plan: Plan, out: Path, jobs: int) -> None:
    """Measure what is not known yet.

    Args:
        plan: what is measured.
        out: folder of the study.
        jobs: processes.

    Raises:
        DarwinError: the base cannot be fetched, or an adapter is missing.
    """
    ready = Specialists(plan.seeds[0])
    ready.require()
    say(f"base: {Path(ready.base).name}; {len(plan.units)} units of seed and number of specialists")
    with ProcessPoolExecutor(min(jobs, len(plan.units) + 1), get_context("spawn"), end_with_parent) as pool:
        tasks = [pool.submit(measure_unit_alone, plan, unit, out) for unit in plan.units]
        tasks.append(pool.submit(scan_pair, plan, out / "mri", say))
        try:
            for task in as_completed(tasks):
                task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def measure_unit_alone(plan: Plan, unit: Unit, out: Path) -> None:
    """Measure a unit in this process."""
    measure_unit(plan, unit, Specialists(unit[0]), out, say)


def say(text: str) -> None:
    """A line of progress."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)
