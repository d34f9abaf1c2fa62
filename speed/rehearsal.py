"""A rehearsal of the real pair with random weights: scan, prior, a short search and the child, on any device.

    python -m speed.rehearsal --dir DIR                full shapes: a GPU of 80 GB or more, and 55 GB of disk
    python -m speed.rehearsal --dir DIR --short        full shapes, few and short texts and items: about an hour on
                                                       two cores with 24 GiB
    python -m speed.rehearsal --dir DIR --small        the same mechanisms scaled down: minutes on two cores
    python -m speed.rehearsal --dir DIR --child-only   full shapes, but only the child, which needs no GPU

Prints seconds per stage, the forward's rate (for ``darwin-mri plan --rate``) and the most memory held, and writes them
to DIR/rehearsal.json. The scores mean nothing: the weights are random, and the tokenizers are the nursery's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from darwin_mri.checkpoints import find_model, load_tokenizer
from darwin_mri.checkpoints.survey import survey
from darwin_mri.merging.donors import DonorFFN, keep_donors
from darwin_mri.merging.folder_sources import father_source
from darwin_mri.records import Genome
from speed.processes import run_apart
from speed.shapes import SPREAD, write_parent
from speed.standins import write_standins

CONFIG = Path(__file__).parents[1] / "configs" / "genesis-4b.yaml"
# What is not as in the config: all that makes a run long, and in the small version the benchmarks.
SHORT: dict[str, dict[str, Any]] = {
    "prior": {"items": 8},
    "search": {"budget": 28, "population": 14, "items": 12, "finalists": 2},
    "bench": {"tasks": ["click", "musr"], "items": 12, "harness": False},
}
FEW: dict[str, dict[str, Any]] = {
    "scan": {"languages": ["ko", "en"], "documents": 4, "max_tokens": 64, "positions": 128, "bootstrap": 100},
    "prior": {"items": 8},
    "search": {"budget": 6, "population": 4, "items": 8, "finalists": 2},
    "bench": {"tasks": ["nursery_click", "nursery_musr"], "items": 8, "harness": False},
}
# A prior from the scan alone: a backward pass takes four times the model's memory.
FEWER: dict[str, dict[str, Any]] = {
    **FEW,
    "scan": {**FEW["scan"], "documents": 2, "max_tokens": 32, "positions": 64},
    "prior": {"preset": "paper", "protect": []},
}
BREED = """
import json, sys, time
from contextlib import contextmanager
from pathlib import Path
import torch
from darwin_mri.config import load_config
from darwin_mri.pipeline import breed
from darwin_mri.run.folder import Run
more = {"device_peak": {}}
untraced = Run.timed
@contextmanager
def timed(run, stage):
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with untraced(run, stage):
        yield
    if torch.cuda.is_available():
        more["device_peak"][stage] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    seconds, peak = time.perf_counter() - wall, more["device_peak"].get(stage)
    print(f"{stage} done after {seconds:.0f} s, GiB on the device: {peak}", file=sys.stderr, flush=True)
Run.timed = timed
wall, cpu = time.perf_counter(), time.process_time()
breed(load_config(Path(sys.argv[1]), {}), Path(sys.argv[2]), overwrite=True, force=True, offline=True)
"""
CHILD = """
import json, sys, time
from pathlib import Path
import transformers.models.auto.auto_mappings
from darwin_mri.pipeline import merge
from darwin_mri.problem.recipes import genome_config
from darwin_mri.records import Genome
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
genome = Genome.load(folder / "genome.json")
config = genome_config(genome, "rehearsal", father=sys.argv[3], mother=sys.argv[4])
wall, cpu = time.perf_counter(), time.process_time()
merge(config, genome, out, donors=folder / "state" / "donors", offline=True)
"""
RATE = """
import json, sys, time
import torch
from darwin_mri.checkpoints import find_model, load, resolve_device
from darwin_mri.checkpoints.survey import survey
from darwin_mri.planning.duration import layer_parameters
source, device = find_model(sys.argv[1]), resolve_device("auto")
father = load(source, device=device, dtype=sys.argv[2])
ids = torch.randint(0, 1000, (1, 256) if device == "cpu" else (8, 256), device=device)
def read():
    with torch.inference_mode():
        last = father.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return float(last.float().sum())  # waits for the device
read()
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(3):
    read()
rate = 3 * ids.numel() * 2 * layer_parameters(survey(source.folder)) / (time.perf_counter() - wall)
more = {"flops": rate, "device": device}
"""


def main() -> None:
    """Build what is missing in DIR, run, print and write the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m speed.rehearsal", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--dir", type=Path, required=True, help="where parents, run and child are written")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="scaled down")
    size.add_argument("--short", action="store_true", help="full shapes, few texts and items")
    size.add_argument(
        "--child-only", action="store_true", help="random donors and a given genome in place of scan and search"
    )
    arguments = parser.parse_args()
    folder: Path = arguments.dir
    parents = {role: folder / role for role in ("father", "mother")}
    for number, (role, parent) in enumerate(parents.items()):
        if not parent.is_dir():
            write_parent(parent, role, small=arguments.small, seed=number)
    run, figures = folder / "run", {"parents": {role: _size(parent) for role, parent in parents.items()}}
    if arguments.child_only:
        write_stand_in_run(run, parents["father"])
    else:
        # By default a CPU computes in fp32; twice the bytes of the full shapes is more than most hosts have.
        dtype = "bfloat16" if arguments.short else "auto"
        figures["forward"] = run_apart(RATE, str(parents["father"]), dtype, threads=None)
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config |= {role: str(parent) for role, parent in parents.items()}
        config |= {"device": "auto", "dtype": dtype}
        if arguments.small or arguments.short:
            config |= {"fitness": {"nursery_click": 0.6, "nursery_musr": 0.4}}
        else:
            tokenizer = load_tokenizer(find_model(str(parents["father"])))
            config |= {"data": str(write_standins(folder / "data", tokenizer))}
        short = FEW if arguments.small else FEWER if arguments.short else SHORT
        config |= {section: {**config[section], **own} for section, own in short.items()}
        path = folder / "rehearsal.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        figures["breed"] = run_apart(BREED, str(path), str(run), threads=None, verbose=True)
        figures["stages"] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["seconds"]
    for child in (folder / "child", run / "child"):  # the run's is written once more, to be measured alone
        shutil.rmtree(child, ignore_errors=True)
    figures["child"] = run_apart(CHILD, str(run), str(folder / "child"), *map(str, parents.values()))
    figures["child"]["bytes"] = _size(folder / "child")
    (folder / "rehearsal.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    json.dump(figures, sys.stdout, indent=1)
    print()


def write_stand_in_run(run: Path, father: Path) -> None:
    """Write what a child needs of a run: a genome that moves every FFN, and donors of random values.

    One layer is in memory at a time.

    Args:
        run: folder of the run; replaced.
        father: whose shapes the donors have.
    """
    shutil.rmtree(run, ignore_errors=True)
    surveyed = survey(father)
    prefix, disk = surveyed.anatomy.prefix, father_source(surveyed).disk_names
    names = {
        layer.index: [
            f"{prefix}.{layer.index}.{part}.weight" for part in (layer.ffn.gate, layer.ffn.up, layer.ffn.down) if part
        ]
        for layer in surveyed.anatomy.layers
        if layer.ffn
    }
    generator = torch.Generator().manual_seed(1)

    def random_tensor(name: str) -> torch.Tensor:
        empty = torch.empty(surveyed.tensors[disk[name]].shape, dtype=torch.bfloat16)
        return empty.normal_(0, SPREAD, generator=generator)

    def donors() -> Iterator[DonorFFN]:
        for index, layer_names in names.items():
            yield DonorFFN(index, None, {name: random_tensor(name) for name in layer_names})

    record = keep_donors(run / "state" / "donors", donors(), lambda _: torch.bfloat16, arm="folded")
    record.save(run / "donors.json")
    genes = {f"L{index}.ffn": 0.1 + 0.2 * index / len(names) for index in names}
    genome = Genome(
        space="ffn",
        method="folded",
        seed=1,
        father=find_model(str(father)).ref,
        mother="mother",
        base=None,
        genes=genes,
        ratios=tuple(genes.values()),
        nulls={},
        tensors={f"L{index}.ffn": tuple(disk[name] for name in layer_names) for index, layer_names in names.items()},
        donors={layer.file: layer.sha256 for layer in record.layers},
    )
    genome.save(run / "genome.json")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


if __name__ == "__main__":
    main()
