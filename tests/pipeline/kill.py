"""``breed`` killed with SIGKILL at random moments, resumed each time, and compared with an unbroken run.

    python -m tests.pipeline.kill --kills 20 --config configs/david.yaml

By hand, not by pytest: it takes as long as that many starts. Exit code 1 when anything differs.
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

BREED = [sys.executable, "-m", "darwin_mri.cli", "breed", "--force", "--quiet"]


def result(run: Path) -> dict[str, object]:
    ledger = [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]
    shards = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((run / "child").glob("*.safetensors"))}
    kept = [{key: value for key, value in line.items() if key != "seconds"} for line in ledger]
    return {"genome": (run / "genome.json").read_text(), "ledger": kept, "child": shards}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pipeline.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        began = time.monotonic()
        subprocess.run(
            [*BREED, "--config", str(options.config), "--out", str(whole)], check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.monotonic() - began
        print(f"unbroken: {seconds:.0f} s", flush=True)
        command, killed = [*BREED, "--config", str(options.config), "--out", str(broken)], 0
        while killed < options.kills:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                # Starting takes some 15 s of which a kill would show nothing new; after that, any moment.
                process.wait(timeout=15 + dice.random() * max(5.0, seconds / options.kills))
                print(f"ended by itself after {killed} kills", flush=True)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                lines = (broken / "ledger.jsonl").read_text().count("\n") if (broken / "ledger.jsonl").is_file() else 0
                print(
                    f"kill {killed}: {sorted(p.name for p in broken.glob('*.json'))[-1:]}, {lines} ledger lines",
                    flush=True,
                )
            if (broken / "manifest.json").is_file():
                command = [*BREED, "--resume", str(broken)]
        subprocess.run([*BREED, "--resume", str(broken)], check=True, stdout=subprocess.DEVNULL)
        ours, theirs = result(broken), result(whole)
        differs = [key for key in ours if ours[key] != theirs[key]]
        print(f"{killed} kills; differs: {differs or 'nothing'}")
        return 1 if differs else 0


if __name__ == "__main__":
    sys.exit(main())
