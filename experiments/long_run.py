"""A long search: memory and open files by evaluation, then a ledger of 100,000 lines: resuming it, its report.

    python -m experiments.long_run --evaluations 2000 --lines 100000

The run is ``breed`` of pico siblings. Memory is what the process holds of its own (anonymous pages). The long ledger
is that of a search by CMA-ES over a function of six genes, which is then resumed; the run's own ledger, repeated to as
many lines, is what ``report`` and ``watch`` read. Run by hand, not by pytest: minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from darwin_mri.breeding import InProcess, Ledger, Means, SearchOptions, search
from tests.breeding.test_search import BLOCKS, bowl, start
from tests.toys import pico_gemma4

COMMAND = [sys.executable, "-m", "darwin_mri"]


def main() -> None:
    """Run all of it and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluations", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="darwin_mri-long-") as folder:
        root = Path(folder)
        watch_run(root, options.evaluations)
        resume(root, options.lines)
        show(root / "run", options.lines)


def watch_run(root: Path, evaluations: int) -> None:
    """Breed with that many evaluations, and print how memory and open files go with them."""
    for seed, name in enumerate(("father", "mother", "base")):
        pico_gemma4(root / name, seed=seed, dtype="bfloat16")
    config = {
        **{name: str(root / name) for name in ("father", "mother", "base")},
        "device": "cpu",
        "fitness": {"nursery_click": 0.6, "nursery_musr": 0.4},
        "scan": {"languages": ["ko", "en"], "documents": 4, "max_tokens": 16, "bootstrap": 50, "positions": 64},
        "prior": {"items": 8, "steps": 1},
        "search": {"budget": evaluations, "items": 8, "finalists": 2},
        "bench": {"tasks": ["nursery_click", "nursery_musr"], "items": 8, "harness": False},
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ["breed", "--config", str(root / "config.yaml"), "--out", str(root / "run"), "--quiet", "--force"]
    began = time.monotonic()
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL)
    rows = []
    while process.poll() is None:
        time.sleep(1.0)
        try:
            rows.append((_lines(root / "run" / "ledger.jsonl"), *_held(process.pid)))
        except OSError:
            continue  # it has just ended
    seconds = time.monotonic() - began
    table = np.array([row for row in rows if 0.1 * evaluations < row[0] < evaluations], dtype=float)
    line, mega, files = table.T
    slope, error = _slope(line / 1000, mega)
    print(
        f"breed, {evaluations} evaluations, exit {process.returncode}, {seconds:.0f} s: {mega[0]:.0f} MB held at"
        f" evaluation {line[0]:.0f}, {mega[-1]:.0f} at {line[-1]:.0f}; {slope:+.2f} MB per 1,000 evaluations"
        f" (standard error {error:.2f}); open files {files.min():.0f} to {files.max():.0f}"
    )


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _held(process: int) -> tuple[float, int]:
    """(anonymous memory in MB, open files) of a process."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    kilobytes = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Anonymous:"))
    return kilobytes / 1000, len(list(Path(f"/proc/{process}/fd").iterdir()))


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least squares of y on x: the slope and its standard error."""
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    return float(slope), float(covariance[0, 0] ** 0.5)


def resume(root: Path, lines: int) -> None:
    """Search a function with that many candidates, then once more from the finished ledger."""
    for title in ("searched", "resumed"):
        began = time.monotonic()
        ledger = Ledger(root / "long.jsonl", root / "blocks.jsonl")
        options = SearchOptions(budget=lines, population=100, seed=0)
        search(start(), InProcess(bowl), Means(BLOCKS, {"toy": 1.0}), ledger, options)
        print(f"{len(ledger.lines)} candidates {title} in {time.monotonic() - began:.1f} s")


def show(run: Path, lines: int) -> None:
    """Repeat a run's ledger to that many lines, and time what reads it."""
    own = [json.loads(line) for line in (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]
    generations = max(line["generation"] for line in own) + 1
    with (run / "ledger.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(lines):
            line, turn = own[number % len(own)], number // len(own)
            shifted = {"evaluation": number, "generation": line["generation"] + turn * generations}
            stream.write(json.dumps({**line, **shifted}) + "\n")
    for words in (["report", str(run), "--quiet"], ["watch", str(run), "--json"]):
        began = time.monotonic()
        done = subprocess.run([*COMMAND, *words], capture_output=True)
        print(f"{words[0]} of a run of {lines} lines: exit {done.returncode}, {time.monotonic() - began:.1f} s")
    print(f"report.html: {(run / 'report.html').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
