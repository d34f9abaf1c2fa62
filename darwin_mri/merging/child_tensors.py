"""A candidate's tensors under the names of the father's disk, from the parents' files: no model is in memory for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from darwin_mri.merging.merge import Merge, tensor_ratios
from darwin_mri.merging.settings import Exceptions, Settings
from darwin_mri.merging.streaming import Ratios


@dataclass(frozen=True, eq=False)
class ChildTensors:
    """The tensors of one candidate, each computed when it is asked for.

    Attributes:
        merge: what they are computed by.
        versions: tensor on the father's disk that differs from it -> its ratios and settings. Two candidates of one
            merge have the same tensor where these are equal.
        own_names: tensor on the father's disk -> the merge's name of it.
    """

    merge: Merge
    versions: Mapping[str, tuple[Ratios, Settings]]
    own_names: Mapping[str, str]

    def tensor(self, name: str) -> Tensor:
        """A tensor of the child by its name on disk, whether it differs from the father's or not."""
        if name in self.versions:
            return self.merge.tensor(self.own_names[name], *self.versions[name])
        return self.merge.father.reader.tensor(name)


def child_tensors(
    merge: Merge,
    tensors: Mapping[str, tuple[str, ...]],
    genes: Mapping[str, float],
    exceptions: Exceptions | None = None,
) -> ChildTensors:
    """The child of these genes, as ``Candidate.apply`` writes it into a model.

    Args:
        merge: what the child's tensors are.
        tensors: gene -> parameter names.
        genes: gene -> ratio; absent genes are 0.
        exceptions: replace the merge's own.

    Returns:
        Its tensors. A copy that a folder holds of a tied tensor changes with it, and what a child of an unpacked father
        has rounded counts as different.
    """
    father, rounded = merge.father, set(merge.father.rounded_names())
    versions, own_names = {}, {}
    ratios = tensor_ratios(merge, tensors, genes, exceptions)
    nothing: Ratios = (0.0,) * len(merge.roles)
    for name in rounded - ratios.keys():
        ratios[name] = nothing, merge.settings_of(name, exceptions)[0]
    for name, (own, settings) in ratios.items():
        if any(own) or not settings.zero_is_father or name in rounded:
            disk = merge.on_disk(name)
            versions[disk], own_names[disk] = (own, settings), name
    for copy, original in father.copies.items():
        if original in versions:
            versions[copy], own_names[copy] = versions[original], own_names[original]
    return ChildTensors(merge, versions, own_names)
