"""What every stage of a run holds on a device against what `plan` says, under a cap and without a GPU.

    python -m speed.memory --dir DIR [--pair genesis|david] [--roomy]

A scaled-down pair of the real families is bred to its report on the fake device of the tests, whose allocator counts
the bytes of every tensor and refuses what is above the cap. Batches and blocks are scaled with the weights, so that
activations have about the share of them that they have at full size. The cap is to what `plan` says the run needs at
least what 24 GB are to the 20 GiB of the real pairs; with ``--roomy`` it is above what the faster ways take.
Prints, and writes to DIR/memory-PAIR[-roomy].json, each stage's plan and measured peak. Minutes on one core.
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
        "vocab_size": 16384,
        "vocab_size_per_layer_input": 16384,
    },
    "mother": {"hidden_size": 512, "intermediate_size": 1856, "vocab_size": 16384},
}
PAIRS: dict[str, dict[str, Any]] = {
    "genesis": {"father": "father", "mother": "mother"},
    "david": {"father": "father", "mother": "father", "base": "father"},
}
SHORT: dict[str, dict[str, Any]] = {
    "scan": {"languages": ["ko", "en"], "documents": 16, "max_tokens": 64, "positions": 256, "bootstrap": 50},
    "prior": {"items": 16, "steps": 2},
    "arm": {"documents": 4, "max_tokens": 64, "new_tokens": 4},
    "search": {"budget": 4, "population": 2, "items": 64, "finalists": 1},
    "bench": {"tasks": ["nursery_click", "nursery_musr"], "items": 48, "harness": False},
}
# The father has a 57th of the bytes of the real one, and a token's activations in fp32 two fifths.
SCALED: dict[str, dict[str, int]] = {
    "darwin_mri.batch_sizes": {
        "ARM_TOKENS": 256,
        "BATCH_TOKENS": 512,
        "SCORED_TOKENS": 1024,
        "MOST_LOGITS": 2**20,
        "SHORT_GRADIENT_TOKENS": 64,
        "LONG_MASK_VALUES": 2**21,
    },
    "darwin_mri.planning.memory": {"HEALTH_TOKENS": 2 * 128},
    "darwin_mri.merging.arms.nearest": {"ROWS": 32},
    "darwin_mri.merging.blocks": {"DEVICE_BLOCK": 2**19},
    "darwin_mri.merging.model_figures": {"TEXTS": 2, "PROMPTS": 4, "NEW_TOKENS": 8, "SAMPLED_TOKENS": 8},
    "darwin_mri.mri.blended": {"BLOCK": 2**19},
    "darwin_mri.mri.weights": {"BLOCK": 2**19},
}
CARD = 1.2  # bytes of the device for each that is needed
BREED = """
import json, sys, time
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
for module, values in json.loads(sys.argv[3]).items():  # batch sizes first: others take them by name
    if module == "darwin_mri.planning.memory":
        from tests.fake_device import DEVICE, MEMORY  # before what runs on it
    for name, value in values.items():
        assert hasattr(import_module(module), name)
        setattr(import_module(module), name, value)
import torch
from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import load_config
from darwin_mri.pipeline import breed
from darwin_mri.planning import held_bytes, machine, stage_bytes
from darwin_mri.run.folder import Run
config = load_config(Path(sys.argv[1]), {})
surveys = [survey(find_model(ref, offline=True).folder) for ref in config.roles.values()]
limit = int(float(sys.argv[4]) * max(stage_bytes(config, surveys, 4, 2**30, short=sys.argv[5] != "roomy").values()))
machine.accelerator = lambda: machine.Device("a fake device", limit, 1e11, "assumed")
more = {"limit": limit, "father": 4 * surveys[0].parameters, "plan": held_bytes(config, surveys, 4, limit)}
more |= {"least": stage_bytes(config, surveys, 4, limit, short=True), "peak": {}}
untraced = Run.timed
@contextmanager
def timed(run, stage):
    MEMORY.peak = MEMORY.live
    with untraced(run, stage):
        yield
    more["peak"][stage] = MEMORY.peak
    print(f"{stage}: {MEMORY.peak:,} bytes", file=sys.stderr, flush=True)
Run.timed = timed
wall, cpu = time.perf_counter(), time.process_time()
MEMORY.limit = limit
with MEMORY.counted():
    more["report"] = (breed(config, Path(sys.argv[2]), overwrite=True, force=True).folder / "report.html").is_file()
"""


def main() -> None:
    """Write the parents that are missing, breed them, print and write the figures."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m speed.memory", description=summary)
    parser.add_argument("--dir", type=Path, required=True, help="where parents and runs are written")
    parser.add_argument("--pair", choices=PAIRS, default="genesis", help="which of the configs is scaled down")
    parser.add_argument("--roomy", action="store_true", help="a device on which nothing has to give way")
    given = parser.parse_args()
    way = "roomy" if given.roomy else "short"
    figures = rehearse(given.dir, given.pair, roomy=given.roomy)
    out = given.dir / f"memory-{given.pair}-{way}.json"
    out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"cap {figures['limit'] / 2**20:.0f} MiB, father {figures['father'] / 2**20:.0f}; {figures['cpu']:.0f} CPU s")
    for stage, planned in figures["plan"].items():
        peak = figures["peak"][stage]
        print(f"{stage}: plan {planned / 2**20:.0f}, measured {peak / 2**20:.0f} MiB, {planned / peak:.2f}")


def rehearse(folder: Path, pair: str, *, roomy: bool) -> dict[str, Any]:
    """Breed a pair on the fake device, in a process of its own.

    Args:
        folder: where the run is written, and the parents that are missing.
        pair: which of ``PAIRS``.
        roomy: on a device on which nothing has to give way.

    Returns:
        What ``run_apart`` does; ``plan`` and ``peak``, bytes by stage; ``limit`` and ``father``, bytes; and whether
        there is a ``report``.
    """
    config = yaml.safe_load((Path(__file__).parents[1] / "configs" / f"{pair}-4b.yaml").read_text("utf-8"))
    for number, (role, kind) in enumerate(PAIRS[pair].items()):
        parent = folder / f"{kind}-{number}"
        if not parent.is_dir():
            write_parent(parent, kind, small=True, seed=number, changes=SIZES[kind])
        config[role] = str(parent)
    config |= {"device": "cuda", "dtype": "float32", "fitness": {"nursery_click": 0.6, "nursery_musr": 0.4}}
    config |= {section: {**config[section], **own} for section, own in SHORT.items() if section in config}
    path = folder / f"{pair}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    way = "roomy" if roomy else "short"
    run = str(folder / f"run-{pair}-{way}")
    return run_apart(BREED, str(path), run, json.dumps(SCALED), str(CARD), way, verbose=True)


if __name__ == "__main__":
    sys.exit(main())
