"""How a child is made: operators, cross-architecture arms, the candidate in memory, the folder on disk, its health.

Names resolve on first use: a recipe can be read and planned without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from darwin_mri.lazy import lazy_names

if TYPE_CHECKING:
    from darwin_mri.merging.candidate import Candidate as Candidate
    from darwin_mri.merging.child import write_child as write_child
    from darwin_mri.merging.donors import DonorFFN as DonorFFN
    from darwin_mri.merging.donors import DonorFolder as DonorFolder
    from darwin_mri.merging.donors import Donors as Donors
    from darwin_mri.merging.donors import keep_donors as keep_donors
    from darwin_mri.merging.donors import verify_donors as verify_donors
    from darwin_mri.merging.masks import keep_mask as keep_mask
    from darwin_mri.merging.masks import uniform as uniform
    from darwin_mri.merging.merge import Merge as Merge
    from darwin_mri.merging.merge import tensor_ratios as tensor_ratios
    from darwin_mri.merging.operators import blend as blend
    from darwin_mri.merging.settings import NEEDS_BASE as NEEDS_BASE
    from darwin_mri.merging.settings import Settings as Settings
    from darwin_mri.merging.sources import FolderSource as FolderSource
    from darwin_mri.merging.sources import RandomSource as RandomSource
    from darwin_mri.merging.sources import ShuffledSource as ShuffledSource

__getattr__, __dir__ = lazy_names(__name__)
