"""What a child's tensor is: one pair, one method, one ratio per tensor. Memory and disk both ask here, so they agree bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from darwin_mri.errors import InputError
from darwin_mri.merging.blending import Blend
from darwin_mri.merging.donors import DonorFolder, Donors, Replacement
from darwin_mri.merging.operators import blend
from darwin_mri.merging.settings import Exceptions, Settings, settings_for
from darwin_mri.merging.sources import FolderSource, ShuffledSource, TensorSource

REPLACE = "replace"  # a share of the father's neurons gives place to the donor's, where the others move all by a ratio


@dataclass(frozen=True)
class Merge:
    """Child tensors of one pair, under the father's parameter names.

    Args:
        method: an operator's name; an arm is ``linear`` toward its donors, or ``replace``.
        base: common ancestor, or None.
        settings: of the operator; ``exceptions`` say what differs for which tensors, by their names on the father's disk.
        seed: of the random masks, which depend on it, on the tensor's name on the father's disk and on the parent.
    """

    father: FolderSource
    mother: TensorSource
    base: TensorSource | None
    method: str
    settings: Settings
    seed: int
    exceptions: Exceptions = field(default_factory=dict)

    def shuffled(self) -> Merge:
        """The null child's merge: the mother's contribution with its values shuffled within each tensor, by blocks where it is large."""
        whole = self.method in ("linear", "slerp", REPLACE)  # an interpolation's donor is the whole tensor
        origin = None if whole else (self.base or self.father)
        return replace(self, mother=ShuffledSource(self.mother, origin, self.seed))

    def on_disk(self, name: str) -> str:
        return self.father.disk_names[name]

    def settings_of(self, name: str, exceptions: Exceptions | None = None) -> tuple[Settings, float | None]:
        """One tensor's settings, and the ratio an exception gives it; ``exceptions`` replace the pair's own."""
        return settings_for(self.on_disk(name), self.settings, self.exceptions if exceptions is None else exceptions)

    def blend(self, name: str, settings: Settings | None = None) -> Blend | Replacement:
        """The child's tensor as a function of the ratio."""
        father, mother = self.father.tensor(name), self.mother.tensor(name)
        if self.method == REPLACE:
            return Replacement(father, mother, _order(self.mother, name))
        # One map of the file where the father is the base, so that one copy is held.
        base = None if self.base is None else father if self.base is self.father else self.base.tensor(name)
        settings = self.settings_of(name)[0] if settings is None else settings
        return blend(self.method, father, mother, base, settings, seed=self.seed, name=self.on_disk(name))

    def tensor(self, name: str, ratio: float, settings: Settings | None = None) -> torch.Tensor:
        """The child's tensor in the father's dtype; ratio 0 is the father's own tensor whatever the method (``zero_is_father``)."""
        if ratio == 0.0 and (settings or self.settings_of(name)[0]).zero_is_father:
            return self.father.tensor(name)
        return self.blend(name, settings).child(ratio, self.father.dtype(name))

    def direction(self, name: str, ratio: float) -> torch.Tensor:
        """(child at ``ratio`` - father) / ratio in float32: what a gene adds per unit of ratio. The same at every ratio for
        the methods that are linear in it, a chord for the others."""
        made = self.blend(name)
        ratio = 1.0 if made.linear else ratio
        return (made.child(ratio) - self.father.tensor(name).float()) / ratio


def _order(donors: TensorSource, name: str) -> torch.Tensor:
    inner = donors.mother if isinstance(donors, ShuffledSource) else donors
    if not isinstance(inner, Donors | DonorFolder):
        raise InputError(f"tensor '{name}': neurons can only be replaced by donors that say in which order")
    return inner.order(name)


def doses(
    merge: Merge, tensors: Mapping[str, tuple[str, ...]], genes: Mapping[str, float], exceptions: Exceptions | None = None
) -> dict[str, tuple[float, Settings]]:  # fmt: skip
    """(ratio, settings) of every tensor some gene or exception speaks of, in the order of the genes.

    Args:
        tensors: gene -> parameter names.
        genes: gene -> ratio; absent genes are 0. A ratio among the exceptions replaces the gene's.
    """
    out = {}
    for gene, names in tensors.items():
        for name in names:
            settings, own = merge.settings_of(name, exceptions)
            out[name] = (float(genes.get(gene, 0.0)) if own is None else own, settings)
    return out
