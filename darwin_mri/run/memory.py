"""The most memory that this process has held. Loads no torch: where nothing has, no device was used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from darwin_mri.records import PeakMemory


def peak_memory() -> PeakMemory:
    """Of the host, and of every CUDA device that torch has used in this process."""
    return PeakMemory(host=_host_peak(), devices=_device_peaks())


def _host_peak() -> int | None:
    """VmHWM, not ru_maxrss: a new process inherits that one from whoever started it."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # no Unix
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _device_peaks() -> dict[str, int]:
    torch: Any = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return {}
    peaks = {f"cuda:{number}": int(cuda.max_memory_allocated(number)) for number in range(cuda.device_count())}
    return {device: peak for device, peak in peaks.items() if peak}
