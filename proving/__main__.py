"""Fetch the base, scan it beside a specialist, measure the study, write one page.

    python -m proving [--full] [--out FOLDER] [--jobs N]

Resumable: what is measured lies in FOLDER/cells. ``study.json`` has every figure and no time, so that two runs give the
same bytes; ``times.json`` has the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darwin_mri.errors import DarwinError

if TYPE_CHECKING:  # torch is imported when the number of its threads is set
    from proving.study.plan import Plan

OUT, SHORT_OUT = Path("reports/proving"), Path("reports/proving-short")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and write the page."""
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    parser = argparse.ArgumentParser(prog="python -m proving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the whole study (hours), in place of its short form")
    parser.add_argument("--tiny", action="store_true", help="a smoke run of minutes, whose figures mean nothing")
    parser.add_argument("--out", type=Path, help=f"where all goes (default {OUT} for --full, else {SHORT_OUT})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, one core each")
    given = parser.parse_args(arguments)
    from proving.study.jobs import measure
    from proving.study.plan import FULL, SHORT, TINY

    plan = FULL if given.full else TINY if given.tiny else SHORT
    out = given.out or (OUT if given.full else SHORT_OUT)
    try:
        measure(plan, out, given.jobs)
        print(write(plan, out))
    except DarwinError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: the same command goes on from {out}", file=sys.stderr)
        return 130
    return 0


def write(plan: Plan, out: Path) -> str:
    """Write study.json, times.json and index.html from the cells; returns the verdicts as text."""
    from proving.specialists import Specialists
    from proving.study.page import write_page
    from proving.study.units import held_out_items, known_cells
    from proving.study.verdicts import judge

    measured = {unit: known_cells(plan, unit, Specialists(unit[0]), out) for unit in plan.units}
    items = {unit: held_out_items(plan, unit, Specialists(unit[0])) for unit in plan.units}
    study = judge(plan, measured, items)
    times = {f"{s} {c} {row}": round(cell.seconds, 1) for (s, c), own in measured.items() for row, cell in own.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / "study.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    (out / "times.json").write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")
    (out / "index.html").write_text(write_page(plan, study), encoding="utf-8")
    lines = [f"{name}: {own['verdict']}  {own['why']}" for name, own in study["verdicts"].items()]
    return "\n".join([*lines, f"page: {out / 'index.html'}"])


if __name__ == "__main__":
    sys.exit(main())
