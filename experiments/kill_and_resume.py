"""``breed`` killed with SIGKILL at random moments, resumed each time, and compared with an unbroken run.

    python -m experiments.kill_and_resume --kills 20 --config configs/david.yaml

A broken run that reaches its end is compared and followed by another, until there were that many kills. The unbroken
run is made twice: the same command must also give the same. It takes as long as that many starts; two kills on small
models are an ordinary test (``tests/pipeline/test_kill.py``). Exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BREED = [sys.executable, "-m", "darwin_mri", "breed", "--force", "--quiet"]


def result(run: Path) -> dict[str, object]:
    """What must be the same: the genome, the ledger (times apart), and the child's shards by sha256."""
    ledger = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    shards = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((run / "child").glob("*.safetensors"))}
    kept = [{key: value for key, value in line.items() if key != "seconds"} for line in ledger]
    return {"genome": (run / "genome.json").read_text(), "ledger": kept, "child": shards}


def differences(run: Path, whole: dict[str, object]) -> list[str]:
    """Which parts of a run's result are not those of the unbroken run."""
    return [key for key, value in result(run).items() if value != whole[key]]


def newest(run: Path) -> str:
    """The file written last: where in the run the kill fell."""
    files = [path for path in run.rglob("*") if path.is_file()]
    return str(max(files, key=lambda path: path.stat().st_mtime).relative_to(run)) if files else "nothing yet"


def finishes(command: list[str], run: Path, after: float) -> bool:
    """Whether the command ends by itself; killed ``after`` seconds from its first write to the run folder."""
    began = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        written = [path.stat().st_mtime for path in run.rglob("*") if path.is_file()]
        if max(written, default=0.0) > began:
            break
        time.sleep(0.2)
    try:
        if process.wait(timeout=after):
            raise SystemExit(f"breed ended with exit code {process.returncode}")
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.kill_and_resume", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument(
        "--longest", type=float, default=30.0, help="seconds from a run's first write to the kill, at most"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, differs = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / name for name in ("whole", "again")]
        for run in runs:
            subprocess.run(
                [*BREED, "--config", str(options.config), "--out", str(run)], check=True, stdout=subprocess.DEVNULL
            )
        whole = result(runs[0])
        differs += differences(runs[1], whole)
        print(f"the same command twice; differs: {differs or 'nothing'}", flush=True)
        killed = 0
        while killed < options.kills:
            broken = Path(folder) / f"broken-{killed}"
            command = [*BREED, "--config", str(options.config), "--out", str(broken)]
            while not finishes(command, broken, options.longest * rng.random() if killed < options.kills else 3600.0):
                killed += 1
                ledger = broken / "ledger.jsonl"
                lines = ledger.read_text().count("\n") if ledger.is_file() else 0
                print(f"kill {killed}: last written {newest(broken)}, {lines} ledger lines", flush=True)
                if (broken / "manifest.json").is_file():
                    command = [*BREED, "--resume", str(broken)]
            changed = differences(broken, whole)
            differs += changed
            print(f"resumed to its end after {killed} kills; differs: {changed or 'nothing'}", flush=True)
    return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
