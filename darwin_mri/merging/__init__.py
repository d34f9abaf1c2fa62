"""How a child comes to be: operators, cross-architecture arms, the in-memory candidate, the folder it is written to, its health.

Names resolve on first use: a recipe can be read and planned without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darwin_mri.merging.candidate import Candidate
    from darwin_mri.merging.child import write_child
    from darwin_mri.merging.donors import DonorFFN, DonorFolder, Donors, keep_donors, verify_donors
    from darwin_mri.merging.health import check_child
    from darwin_mri.merging.masks import keep_mask, uniform
    from darwin_mri.merging.merge import Merge, doses
    from darwin_mri.merging.operators import blend
    from darwin_mri.merging.settings import METHODS, NEEDS_BASE, Settings
    from darwin_mri.merging.sources import FolderSource, RandomSource, ShuffledSource

_HOMES = {
    "candidate": ("Candidate",),
    "child": ("write_child",),
    "donors": ("DonorFFN", "DonorFolder", "Donors", "keep_donors", "verify_donors"),
    "health": ("check_child",),
    "masks": ("keep_mask", "uniform"),
    "merge": ("Merge", "doses"),
    "operators": ("blend",),
    "settings": ("METHODS", "NEEDS_BASE", "Settings"),
    "sources": ("FolderSource", "RandomSource", "ShuffledSource"),
}
__all__ = [
    "METHODS", "NEEDS_BASE", "Candidate", "DonorFFN", "DonorFolder", "Donors", "FolderSource", "Merge", "RandomSource",
    "Settings", "ShuffledSource", "blend", "check_child", "doses", "keep_donors", "keep_mask", "uniform", "verify_donors",
    "write_child",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
