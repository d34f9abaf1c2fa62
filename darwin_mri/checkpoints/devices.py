"""Where to compute, and how much room there is. Needs torch alone."""

from __future__ import annotations

import sys

import torch

from darwin_mri.checkpoints.host import host_memory
from darwin_mri.errors import InputError


def resolve_device(device: str) -> str:
    """The device to compute on: ``auto`` becomes ``cuda`` where there is one, else ``cpu``.

    Raises:
        InputError: an unknown name, or CUDA where the machine has none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    if device.partition(":")[0] != "cuda":
        raise InputError(f"unknown device {device!r}: use auto, cpu or cuda")
    if not torch.cuda.is_available():
        raise InputError(f"device {device} is asked for, but torch sees no CUDA here: use --device cpu")
    return device


def free_memory(device: str | torch.device) -> int:
    """Bytes that tensors can still take. On a CUDA device: what the driver has, and what torch holds of it without using it."""
    if torch.device(device).type == "cpu":
        return host_memory() or sys.maxsize  # not said: no bound
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + held
