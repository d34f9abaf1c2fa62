"""What a child's tensor is: the parents, one method, one ratio per tensor.

The child in memory and the child on disk both come from here, so they agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from darwin_mri.errors import InputError
from darwin_mri.merging.blending import Blend, Replacement
from darwin_mri.merging.donors import DonorFolder, Donors
from darwin_mri.merging.operators import blend, two_parents
from darwin_mri.merging.settings import Exceptions, Settings, settings_for
from darwin_mri.merging.sources import FolderSource, RandomSource, ShuffledSource, TensorSource

REPLACE = "replace"  # a share of the father's neurons gives place to the donor's, where the others move all by a ratio


@dataclass(frozen=True)
class Merge:
    """Child tensors of a father and other parents, under the father's parameter names.

    Attributes:
        father: the parent whose names, shapes and dtypes the child has.
        others: the other parents, or the donors an arm has built from one. All of today's methods take exactly one.
        base: common ancestor, or None.
        method: an operator's name; an arm is ``linear`` toward its donors, or ``replace``.
        settings: the operator's.
        seed: of the random masks, which depend on it, on the tensor's name on the father's disk and on the parent.
        exceptions: what differs for which tensors, by their names on the father's disk.

    Raises:
        ConfigError: another number of parents than the method takes.
    """

    father: FolderSource
    others: tuple[TensorSource, ...]
    base: TensorSource | None
    method: str
    settings: Settings
    seed: int
    exceptions: Exceptions = field(default_factory=dict)

    def __post_init__(self) -> None:
        two_parents(self.method, (self.father, *self.others))

    def shuffled(self) -> Merge:
        """The null child's merge: what every other parent adds has its values shuffled within each tensor.

        Large tensors are shuffled by blocks.
        """
        whole = self.method in ("linear", "slerp", REPLACE)  # an interpolation's donor is the whole tensor
        origin = None if whole else (self.base or self.father)
        return replace(self, others=tuple(ShuffledSource(other, origin, seed=self.seed) for other in self.others))

    def on_disk(self, name: str) -> str:
        """A parameter's name on the father's disk."""
        return self.father.disk_names[name]

    def settings_of(self, name: str, exceptions: Exceptions | None = None) -> tuple[Settings, float | None]:
        """One tensor's settings, and the ratio an exception gives it; ``exceptions`` replace the merge's own."""
        return settings_for(self.on_disk(name), self.settings, self.exceptions if exceptions is None else exceptions)

    def blend(self, name: str, settings: Settings | None = None) -> Blend:
        """The child's tensor as a function of the ratio."""
        father, *others = (source.tensor(name) for source in (self.father, *self.others))
        if self.method == REPLACE:
            return Replacement(father, others[0], _order(self.others[0], name))
        # One map of the file where the father is the base, so that one copy is held.
        base = None if self.base is None else father if self.base is self.father else self.base.tensor(name)
        settings = self.settings_of(name)[0] if settings is None else settings
        return blend(self.method, (father, *others), base, settings, seed=self.seed, name=self.on_disk(name))

    def tensor(self, name: str, ratio: float, settings: Settings | None = None) -> Tensor:
        """One tensor of the child.

        Args:
            name: the parameter's.
            ratio: how much of the other parents it takes; 0 is the father's own tensor whatever the method, where the
                settings say so (``Settings.zero_is_father``).
            settings: the operator's; those of the merge and its exceptions when None.

        Returns:
            The tensor in the father's shape and dtype.
        """
        if ratio == 0.0 and (settings or self.settings_of(name)[0]).zero_is_father:
            return self.father.tensor(name)
        return self.blend(name, settings).child(ratio, self.father.dtype(name))

    def direction(self, name: str, ratio: float) -> Tensor:
        """(child at ``ratio`` - father) / ratio in fp32: what a gene adds per unit of ratio.

        The same at every ratio for the methods that are linear in it, a chord for the others.
        """
        function = self.blend(name)
        ratio = 1.0 if function.linear else ratio
        return (function.child(ratio) - self.father.tensor(name).float()) / ratio


def tensor_ratios(
    merge: Merge,
    tensors: Mapping[str, tuple[str, ...]],
    genes: Mapping[str, float],
    exceptions: Exceptions | None = None,
) -> dict[str, tuple[float, Settings]]:
    """The ratio and the settings of every tensor that some gene or exception names, in the order of the genes.

    Args:
        merge: knows the settings.
        tensors: gene -> parameter names.
        genes: gene -> ratio; absent genes are 0.
        exceptions: replace the merge's own; a ratio among them replaces the gene's.

    Returns:
        Parameter name -> (ratio, settings).
    """
    ratios = {}
    for gene, names in tensors.items():
        for name in names:
            settings, own = merge.settings_of(name, exceptions)
            ratios[name] = (float(genes.get(gene, 0.0)) if own is None else own, settings)
    return ratios


def _order(donors: TensorSource, name: str) -> Tensor:
    """In which order a donor's neurons replace the father's; a null donor has the order of its source."""
    source = donors.source if isinstance(donors, ShuffledSource | RandomSource) else donors
    if not isinstance(source, Donors | DonorFolder):
        raise InputError(f"tensor '{name}': neurons can only be replaced by donors that say in which order")
    return source.order(name)
