"""How a child comes to be: operators, arms, the in-memory candidate, and the folder it is written to."""

from darwin_mri.merging.candidate import Candidate
from darwin_mri.merging.child import write_child
from darwin_mri.merging.crossbreed import build_donors
from darwin_mri.merging.health import check_child
from darwin_mri.merging.masks import keep_mask, uniform
from darwin_mri.merging.merge import Donors, FolderSource, Merge
from darwin_mri.merging.operators import METHODS, NEEDS_BASE, RESCALES, merge_tensor, round_once

__all__ = [
    "METHODS", "NEEDS_BASE", "RESCALES", "Candidate", "Donors", "FolderSource", "Merge", "build_donors", "check_child",
    "keep_mask", "merge_tensor", "round_once", "uniform", "write_child",
]  # fmt: skip
