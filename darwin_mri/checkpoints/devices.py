"""Where to compute, how much memory is free, and what to do when it runs out. Needs torch alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from darwin_mri.checkpoints.host import host_memory
from darwin_mri.checkpoints.products import use_fast_products
from darwin_mri.errors import DarwinError, InputError

Result = TypeVar("Result")
_resolved = ""  # the device that was resolved last


def resolve_device(device: str) -> str:
    """The device to compute on: ``auto`` becomes ``cuda`` where there is one, else ``cpu``.

    Raises:
        InputError: an unknown name, or CUDA where the machine has none.
    """
    global _resolved
    _resolved = _resolve(device)
    if _resolved == "cpu":
        use_fast_products()
    return _resolved


def computing_device() -> str:
    """The device that this process computes on: the one resolved last, else what ``auto`` means."""
    return _resolved or _resolve("auto")


def _resolve(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return device
    if device.partition(":")[0] != "cuda":
        raise InputError(f"unknown device {device!r}: use auto, cpu or cuda")
    if not torch.cuda.is_available():
        raise InputError(f"device {device} is asked for, but torch sees no CUDA here: use --device cpu")
    return device


def device_memory(device: str | torch.device) -> int | None:
    """Bytes of an accelerator, or the share of them that torch may take; None for a CPU."""
    known = torch.device(device)
    if known.type == "cpu":
        return None
    number = torch.cuda.current_device() if known.index is None else known.index
    return int(torch.cuda.mem_get_info(number)[1] * torch.cuda.get_per_process_memory_fraction(number))


def free_memory(device: str | torch.device) -> int:
    """Bytes that tensors can still take.

    On a CUDA device this is what the driver has free plus what torch holds without using it, within torch's share.
    """
    if torch.device(device).type == "cpu":
        return host_memory() or sys.maxsize  # unknown: no bound
    allocated = torch.cuda.memory_allocated(device)
    held = torch.cuda.memory_reserved(device) - allocated
    return min(torch.cuda.mem_get_info(device)[0] + held, (device_memory(device) or 0) - allocated)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed for want of memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def retry_smaller(attempt: Callable[[], Result], halve: Callable[[], bool], advice: Callable[[], str]) -> Result:
    """Call ``attempt`` until it fits in memory, with less at a time after each failure for want of memory.

    The size of an attempt (a batch, a budget of tokens, ...) lives with the caller: ``attempt`` reads it, ``halve``
    lowers it. Between two attempts torch's CUDA cache is freed, so that memory in small pieces can serve large tensors.

        budget = 8192

        def halve() -> bool:
            nonlocal budget
            budget //= 2
            return budget > 0

        scores = retry_smaller(lambda: score(texts, budget), halve, lambda: "no text fits: use a larger device")

    Args:
        attempt: the computation; it must be safe to repeat from the start.
        halve: makes the next attempt smaller; returns False where nothing smaller is left.
        advice: the message of the error, asked for only when it is raised.

    Returns:
        What the first attempt that fits returns.

    Raises:
        DarwinError: nothing smaller is left. Its cause is the failure of the last attempt.
    """
    while True:
        try:
            return attempt()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            message = f"{type(error).__name__}: {error}"
        # Outside the handler: the error's traceback would keep the tensors of the failed attempt alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not halve():
            raise DarwinError(advice()) from torch.OutOfMemoryError(message)
