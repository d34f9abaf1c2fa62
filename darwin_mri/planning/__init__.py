"""The pre-flight: what a run needs of memory, disk and time, and whether this machine has it; no weight is read."""

from darwin_mri.planning.lengths import TokenCounts, count_texts, count_tokens
from darwin_mri.planning.memory import fits_beside, held_bytes, stage_bytes
from darwin_mri.planning.plan import is_whole_here, plan_run, require_room
from darwin_mri.planning.surroundings import require_surroundings

__all__ = [
    "TokenCounts",
    "count_texts",
    "count_tokens",
    "fits_beside",
    "held_bytes",
    "is_whole_here",
    "plan_run",
    "require_room",
    "require_surroundings",
    "stage_bytes",
]
