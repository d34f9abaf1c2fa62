"""What this machine has: memory, disk, and how fast it multiplies. Nothing here loads torch."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darwin_mri.checkpoints.host import host_memory
from darwin_mri.cores import cores

__all__ = ["ABSENT", "Device", "accelerator", "free_disk", "host_memory"]

# Dense bf16 TFLOP/s as the makers state them; a share of it is reached in practice.
STATED = {
    "H200": 990,
    "H100": 990,
    "B200": 2250,
    "A100": 312,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
    "A10": 125,
    "4090": 165,
    "3090": 71,
}
REACHED = 0.27  # of the stated rate: Gemma 4 E4B in transformers' eager forward on an H100 (docs/PERFORMANCE.md)
UNKNOWN_DEVICE = 50
CPU_REACHED = 0.5  # of a matrix product's speed; measured on the nursery (docs/LOG.md)


@dataclass(frozen=True)
class Device:
    """An accelerator: its name, memory in bytes (None where it is not here), and the FLOP/s a forward pass reaches."""

    name: str
    memory: int | None
    speed: float
    basis: str


# What a plan for ``device: cuda`` rests on where no device answers.
ABSENT = Device("an H100, assumed", None, REACHED * STATED["H100"] * 1e12, f"{REACHED:.0%} of the stated 990 TFLOP/s")


def assumed(memory: int, present: Device | None) -> Device:
    """A device of so many bytes, as fast as the one that is here, or as one that is not known."""
    name = f"a device of {memory / 2**30:.4g} GiB, assumed"
    if present:
        return Device(name, memory, present.speed, f"{present.name}: {present.basis}")
    return Device(name, memory, UNKNOWN_DEVICE * 1e12, f"an assumed {UNKNOWN_DEVICE} TFLOP/s; --rate takes another")


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet."""
    return shutil.disk_usage(
        next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    ).free


def accelerator() -> Device | None:
    """The first NVIDIA device as its driver describes it; None where there is none."""
    try:
        out = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout  # fmt: skip
        name, memory = out.strip().splitlines()[0].rsplit(",", 1)
        mebibytes = int(memory)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    stated = next((value for key, value in STATED.items() if key in name), None)
    basis = f"{REACHED:.0%} of the stated {stated} TFLOP/s" if stated else f"an assumed {UNKNOWN_DEVICE} TFLOP/s"
    return Device(name.strip(), mebibytes * 2**20, (REACHED * stated if stated else UNKNOWN_DEVICE) * 1e12, basis)


def processor_speed(seconds: float = 0.1) -> float:
    """FLOP/s of a forward pass on the processor's cores: a share of the best measured fp32 matrix product on one.

    The product is small enough that no library splits it over threads, which on a busy machine would measure its
    neighbours.
    """
    a = np.ones((32, 64, 64), dtype=np.float32)
    out, best, began = np.empty_like(a), float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return CPU_REACHED * cores() * 32 * 2 * 64**3 / best
