"""Peak memory of ``merge --genome`` by the number of parents on disk, beyond that of a child which takes nothing.

    python -m experiments.memory_by_parents --method task_arithmetic

Each child is written by a process of its own, from a genome that moves every tensor, over siblings of
``nursery:gemma4-base`` with larger embedding tables. What a further parent adds is to be read beside the size of the
largest tensor: the tensors in work are one of each parent. The resident size has the pages of mapped files in it, which
the system may take back, so what a process holds of its own (anonymous memory) is printed as well.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import JOINT
from darwin_mri.pipeline import merge
from darwin_mri.problem.recipes import genome_config
from darwin_mri.records import Genome
from darwin_mri.records.roles import PARENTS

BASE = "nursery:gemma4-base"
MEBI, SPREAD, EVERY = 2**20, 0.01, 0.001


def write_siblings(root: Path, count: int, rows: int) -> list[Path]:
    """Folders of a base with embedding tables of that many rows, and of models a small random step away from it."""
    source, folders = (
        find_model(BASE).folder,
        [root / name for name in ("base", *(f"sibling{k}" for k in range(count)))],
    )
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {"vocab_size": rows, "vocab_size_per_layer_input": rows}
    base = load_file(source / "model.safetensors")
    for name in [name for name in base if ".embed_tokens" in name]:
        base[name] = base[name].repeat(-(-rows // len(base[name])), 1)[:rows].contiguous()
    for seed, folder in enumerate(folders):
        shutil.copytree(source, folder)
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        generator, step = torch.Generator().manual_seed(seed), SPREAD if seed else 0.0
        tensors = {
            name: (value + step * torch.randn(value.shape, generator=generator)).to(value.dtype)
            for name, value in base.items()
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folders


def genome_of(base: Path, folders: list[Path], method: str, ratio: float) -> Genome:
    """A gene for every other parent, each of all tensors at that ratio."""
    names = tuple(survey(folders[0]).layout.text_tensors.values())
    roles = PARENTS[1:2] if method in JOINT else PARENTS[1 : len(folders)]
    return Genome(
        space="layers",
        method=method,
        seed=1,
        father=str(folders[0]),
        mother=str(folders[1]),
        parents=tuple(map(str, folders)),
        base=str(base),
        genes={f"all.{role}": ratio for role in roles},
        gene_parents={f"all.{role}": role for role in roles},
        ratios=(),
        tensors={f"all.{role}": names for role in roles},
    )


def status(field: str) -> int:
    """A size of this process in bytes; what getrusage calls its peak may be that of the process that started it."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def own_memory(done: threading.Event, peak: list[int]) -> None:
    """Watch the process's anonymous memory in bytes until it is done."""
    while not done.wait(EVERY):
        peak[0] = max(peak[0], status("RssAnon"))


def measure(file: Path, out: Path) -> None:
    """Write the child of a genome and print the peaks of this process in bytes: resident, and its own."""
    genome, done, peak = Genome.load(file), threading.Event(), [0]
    watcher = threading.Thread(target=own_memory, args=(done, peak))
    watcher.start()
    merge(genome_config(genome, file.name), genome, out, offline=True)
    done.set()
    watcher.join()
    print(json.dumps([status("VmHWM"), peak[0]]))


def peaks(base: Path, folders: list[Path], method: str, ratio: float) -> list[int]:
    """(resident, own) peaks in bytes of a process that writes the child."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "genome.json", Path(folder) / "child"
        genome_of(base, folders, method, ratio).save(file)
        command = [sys.executable, "-m", "experiments.memory_by_parents", "--child", str(file), str(out)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.memory_by_parents", description=__doc__)
    parser.add_argument("--method", default="task_arithmetic")
    parser.add_argument("--most", type=int, default=5, help="parents, the father among them")
    parser.add_argument("--rows", type=int, default=2**17, help="of the embedding tables, so that they stand out")
    parser.add_argument("--child", nargs=2, type=Path, help="write this genome's child there and print the peaks")
    options = parser.parse_args()
    if options.child:
        measure(*options.child)
        return 0
    with tempfile.TemporaryDirectory() as root:
        base, *folders = write_siblings(Path(root), options.most, options.rows)
        stored = survey(folders[0]).tensors.values()
        print(
            f"{options.method}: tensors {sum(tensor.size for tensor in stored) / MEBI:.1f} MiB on disk in"
            f" {max(tensor.dtype for tensor in stored)}, the largest {max(tensor.size for tensor in stored) / MEBI:.1f}"
        )
        idle = peaks(base, folders[:2], options.method, 0.0)
        for count in range(2, options.most + 1):
            resident, own = peaks(base, folders[:count], options.method, 0.1)
            print(
                f"{count} parents and a base: {(resident - idle[0]) / MEBI:.1f} MiB resident above a copy of the"
                f" father, {(own - idle[1]) / MEBI:.1f} MiB of its own",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
