"""Processor cores this process may use. Nothing here loads torch or numpy."""

from __future__ import annotations

import math
import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")  # where Linux shows the limits of a container


def cores() -> int:
    """Cores this process uses: those it may use, or fewer where ``OMP_NUM_THREADS`` says so."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed(), int(threads)) if threads.isdigit() and int(threads) else allowed()


def allowed() -> int:
    """Cores this process may use: those of its affinity, or the CPU quota of its container where that is less."""
    quota = _quota(GROUPS)
    return affine() if quota is None else max(1, min(affine(), math.ceil(quota)))


def affine() -> int:
    """Cores the process may be scheduled on, whatever its quota: what a library of threads counts."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _quota(groups: Path) -> float | None:
    """Seconds of the processor per second that a control group (version 2 or 1) grants; None without a limit."""
    for quota, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (groups / quota).read_text().split()
            words += (groups / period).read_text().split() if period else []
            granted, length = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # absent; "max"
            continue
        if granted > 0 and length > 0:
            return granted / length
    return None
