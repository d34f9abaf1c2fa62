"""What every stage of a run holds on a device against what `plan` says, under a cap and without a GPU.

    python -m speed.memory --dir DIR [--pair genesis|david]

A scaled-down pair of the real families is bred to its report on the fake device of the tests, whose allocator counts
the bytes of every tensor and refuses what is above the cap. The cap is what `plan` says the run needs at least.
Prints, and writes to DIR/memory-PAIR.json, each stage's plan and measured peak.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from speed.processes import run_apart
from speed.shapes import write_parent

SIZES: dict[str, dict[str, Any]] = {
    "father": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "hidden_size_per_layer_input": 64,
        "vocab_size": 65536,
        "vocab_size_per_layer_input": 65536,
    },
    "mother": {"hidden_size": 512, "intermediate_size": 1856, "vocab_size": 65536},
}
PAIRS: dict[str, dict[str, Any]] = {
    "genesis": {"father": "father", "mother": "mother"},
    "david": {"father": "father", "mother": "father", "base": "father"},
}
SHORT: dict[str, dict[str, Any]] = {
    "scan": {"languages": ["ko", "en"], "documents": 16, "positions": 256, "bootstrap": 50},
    "prior": {"items": 16},
    "search": {"budget": 4, "population": 2, "items": 8, "finalists": 1},
    "bench": {"tasks": ["nursery_click", "nursery_musr"], "items": 8, "harness": False},
}
BREED = """
import json, sys, time
from contextlib import contextmanager
from pathlib import Path
from tests.fake_device import DEVICE, MEMORY  # before darwin_mri
import torch
from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import load_config
from darwin_mri.pipeline import breed
from darwin_mri.planning import machine, plan_run, stage_bytes
from darwin_mri.run.folder import Run
config = load_config(Path(sys.argv[1]), {})
surveys = [survey(find_model(ref, offline=True).folder) for ref in config.roles.values()]
least = stage_bytes(config, surveys, 4, 2**30, short=True)
MEMORY.limit = int(1.1 * max(least.values()))
machine.accelerator = lambda: machine.Device("a fake device", MEMORY.limit, 1e11, "assumed")
more = {"limit": MEMORY.limit, "plan": dict(least), "roomy": dict(stage_bytes(config, surveys, 4, 2**30)), "peak": {}}
untraced = Run.timed
@contextmanager
def timed(run, stage):
    MEMORY.peak = MEMORY.live
    with untraced(run, stage):
        yield
    more["peak"][stage] = max(MEMORY.peak, more["peak"].get(stage, 0))
    print(f"{stage}: {more['peak'][stage]:,} bytes", file=sys.stderr, flush=True)
Run.timed = timed
limit, wall, cpu = MEMORY.limit, time.perf_counter(), time.process_time()
with MEMORY.counted():
    MEMORY.limit = limit
    more["code"] = breed(config, Path(sys.argv[2]), overwrite=True, force=True, offline=True).code
"""


def main() -> None:
    """Write the parents that are missing, breed them, print and write the figures."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m speed.memory", description=summary)
    parser.add_argument("--dir", type=Path, required=True, help="where parents and runs are written")
    parser.add_argument("--pair", choices=PAIRS, default="genesis", help="which of the configs is scaled down")
    given = parser.parse_args()
    config = yaml.safe_load((Path(__file__).parents[1] / "configs" / f"{given.pair}-4b.yaml").read_text("utf-8"))
    for number, (role, kind) in enumerate(PAIRS[given.pair].items()):
        folder = given.dir / f"{kind}-{number}"
        if not folder.is_dir():
            write_parent(folder, kind, small=True, seed=number, changes=SIZES[kind])
        config[role] = str(folder)
    config |= {"device": "cuda", "dtype": "float32", "fitness": {"nursery_click": 0.6, "nursery_musr": 0.4}}
    config |= {section: {**config[section], **own} for section, own in SHORT.items()}
    path = given.dir / f"{given.pair}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    figures = run_apart(BREED, str(path), str(given.dir / f"run-{given.pair}"), verbose=True)
    (given.dir / f"memory-{given.pair}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"cap {figures['limit'] / 2**20:.0f} MiB; exit code {figures['code']}")
    for stage, planned in figures["plan"].items():
        peak = figures["peak"].get(stage)
        if peak:
            print(f"{stage}: plan {planned / 2**20:.0f}, measured {peak / 2**20:.0f} MiB, {planned / peak:.2f}")


if __name__ == "__main__":
    sys.exit(main())
