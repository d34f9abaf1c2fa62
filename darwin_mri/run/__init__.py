"""A run: its folder and manifest, what was measured so far, how it shows its progress, how it is interrupted."""

from darwin_mri.run.cache import CacheKey, MeasurementCache
from darwin_mri.run.folder import Run, open_run, require_run_folder
from darwin_mri.run.interrupt import gentle_interrupt
from darwin_mri.run.live import LiveFile
from darwin_mri.run.memory import peak_memory
from darwin_mri.run.options import RunOptions
from darwin_mri.run.progress import Progress, Silent

__all__ = [
    "CacheKey",
    "LiveFile",
    "MeasurementCache",
    "Progress",
    "Run",
    "RunOptions",
    "Silent",
    "gentle_interrupt",
    "open_run",
    "peak_memory",
    "require_run_folder",
]
