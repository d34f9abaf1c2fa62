"""What a child's tensor is: the parents, one method, one ratio per tensor and other parent.

The child in memory and the child on disk both come from here, so they agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from darwin_mri.config import JOINT
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.blending import Blend, Replacement
from darwin_mri.merging.computed import method_values
from darwin_mri.merging.donors import DonorFolder, Donors
from darwin_mri.merging.methods import REGRESSION, SPECS
from darwin_mri.merging.moments import ParentMoments
from darwin_mri.merging.operators import blend, require_parents
from darwin_mri.merging.regressing import LinearMap, regress
from darwin_mri.merging.relaxing import Magnitudes, relaxed
from darwin_mri.merging.settings import Exceptions, OwnRatios, Settings, settings_for
from darwin_mri.merging.sources import FolderSource, RandomSource, ShuffledSource, TensorSource
from darwin_mri.merging.streaming import Ratio, Ratios, StreamedBlend, as_ratios
from darwin_mri.records.roles import MOTHER, PARENTS

REPLACE = "replace"  # a share of the father's neurons gives place to the donor's, where the others move all by a ratio


@dataclass(frozen=True)
class Merge:
    """Child tensors of a father and other parents, under the father's parameter names.

    Attributes:
        father: the parent whose names, shapes and dtypes the child has.
        others: the other parents, or the donors an arm has built from one.
        base: common ancestor, or None.
        method: an operator's name; an arm is ``linear`` toward its donors, or ``replace``.
        settings: the operator's.
        seed: of the random masks, which depend on it, on the tensor's name on the father's disk and on the parent.
        exceptions: what differs for which tensors, by their names on the father's disk.
        gene_parents: gene -> role of the parent whose share it is; the mother's where it is not named.
        moments: of the inputs of every parent's maps, which ``regression`` with measured moments needs.
        magnitudes: of the base's inputs, which the setting ``relax`` needs.

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
    gene_parents: Mapping[str, str] = field(default_factory=dict)
    moments: ParentMoments | None = None
    magnitudes: Magnitudes | None = None

    def __post_init__(self) -> None:
        require_parents(self.method, 1 + len(self.others))
        spec = SPECS.get(self.method)
        known = {parameter.name for parameter in spec.parameters} if spec else set[str]()
        for name, _ in self.settings.values:
            if name not in known:
                raise ConfigError(f"{self.method} has no setting {name}: leave it out, or choose another method")
        if spec and not spec.sparse:
            spec.options(method_values(self.method, self.settings.values), 1 + len(self.others))

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the other parents, in the order of their ratios; one for all where the method has one result."""
        return PARENTS[1:2] if self.method in JOINT else PARENTS[1 : 1 + len(self.others)]

    def shuffled(self) -> Merge:
        """The null child's merge: what every other parent adds has its values shuffled within each tensor.

        Large tensors are shuffled by blocks.
        """
        whole = self.method in ("linear", "slerp", REPLACE)  # an interpolation's donor is the whole tensor
        origin = None if whole else (self.base or self.father)
        named = zip(PARENTS[1:], self.others, strict=False)
        return replace(
            self, others=tuple(ShuffledSource(other, origin, seed=self.seed, role=role) for role, other in named)
        )

    def on_disk(self, name: str) -> str:
        """A parameter's name on the father's disk."""
        return self.father.disk_names[name]

    def settings_of(self, name: str, exceptions: Exceptions | None = None) -> tuple[Settings, OwnRatios]:
        """One tensor's settings, and the ratios exceptions give it; ``exceptions`` replace the merge's own."""
        return settings_for(self.on_disk(name), self.settings, self.exceptions if exceptions is None else exceptions)

    def blend(self, name: str, settings: Settings | None = None) -> Blend:
        """The child's tensor as a function of the ratios."""
        father, *others = (source.tensor(name) for source in (self.father, *self.others))
        if self.method == REPLACE:
            return Replacement(father, others[0], _order(self.others[0], name))
        # One map of the file where the father is the base, so that one copy is held.
        base = None if self.base is None else father if self.base is self.father else self.base.tensor(name)
        settings = self.settings_of(name)[0] if settings is None else settings
        own = LinearMap(name, self.on_disk(name), self.father.linear.get(self.on_disk(name)), self.moments)
        if self.method == REGRESSION.name:
            function = regress(own, (father, *others), base, settings)
        else:
            function = blend(self.method, (father, *others), base, settings, seed=self.seed, name=own.on_disk)
        magnitude = None if settings.relax == 1 or own.transposed is None else self._magnitude(name)
        if magnitude is None:
            return function
        return relaxed(function, father, magnitude, settings.relax, transposed=own.transposed is True)

    def _magnitude(self, name: str) -> Tensor | None:
        """How large the base's inputs of a linear map are; None where they were not measured."""
        if self.magnitudes is None:
            raise InputError(
                "setting relax needs the base's moments, and there are none: keep moments-base.safetensors (of the"
                " father, where there is no base, moments.safetensors) beside the genome"
            )
        return self.magnitudes.of(name)

    def tensor(
        self, name: str, ratio: Ratio, settings: Settings | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """One tensor of the child.

        Args:
            name: the parameter's.
            ratio: how much of each other parent it takes; 0 of all is the father's own tensor whatever the method,
                where the settings say so (``Settings.zero_is_father``).
            settings: the operator's; those of the merge and its exceptions when None.
            dtype: that it is rounded to, once; the father's when None.

        Returns:
            The tensor in the father's shape.
        """
        if not any(as_ratios(ratio)) and (settings or self.settings_of(name)[0]).zero_is_father:
            return self.father.in_child(name) if dtype is None else self.father.tensor(name).to(dtype)
        return self.blend(name, settings).child(ratio, dtype or self.father.dtype(name))

    def direction(self, name: str, ratio: float, role: str = MOTHER, rows: Tensor | None = None) -> Tensor:
        """What one parent's gene adds per unit of its ratio: (child at ``ratio`` of that parent - father) / ratio.

        Args:
            name: the parameter's.
            ratio: at which the chord of a method is taken that is not linear in it.
            role: of the other parent; the rest have ratio 0.
            rows: which rows are wanted; all when None.

        Returns:
            fp32, in the father's shape.
        """
        function, father = self.blend(name), self.father.tensor(name)
        ratio = 1.0 if function.linear else ratio
        alone = tuple(ratio if own == role else 0.0 for own in self.roles)
        if rows is not None:
            father = father[rows]
        if rows is not None and isinstance(function, StreamedBlend):
            child = function.rows(rows).child(alone)
        else:
            child = function.child(alone)
            child = child if rows is None else child[rows]
        return child.sub_(father.float()).div_(ratio)


def tensor_ratios(
    merge: Merge,
    tensors: Mapping[str, tuple[str, ...]],
    genes: Mapping[str, float],
    exceptions: Exceptions | None = None,
) -> dict[str, tuple[Ratios, Settings]]:
    """The ratios and the settings of every tensor that some gene or exception names, in the order of the genes.

    Args:
        merge: knows the settings, and which parent's share each gene is.
        tensors: gene -> parameter names; a parameter has a gene for each other parent.
        genes: gene -> ratio; absent genes are 0.
        exceptions: replace the merge's own; a ratio among them replaces the gene's.

    Returns:
        Parameter name -> (ratio of each other parent, settings).
    """
    by_role: dict[str, dict[str, float]] = {}
    for gene, names in tensors.items():
        for name in names:
            by_role.setdefault(name, {})[merge.gene_parents.get(gene, MOTHER)] = float(genes.get(gene, 0.0))
    ratios = {}
    for name, shares in by_role.items():
        settings, own = merge.settings_of(name, exceptions)
        every = own.get("")
        ratios[name] = (
            tuple(own.get(role, shares.get(role, 0.0) if every is None else every) for role in merge.roles),
            settings,
        )
    return ratios


def _order(donors: TensorSource, name: str) -> Tensor:
    """In which order a donor's neurons replace the father's; a null donor has the order of its source."""
    source = donors.source if isinstance(donors, ShuffledSource | RandomSource) else donors
    if not isinstance(source, Donors | DonorFolder):
        raise InputError(f"tensor '{name}': neurons can only be replaced by donors that say in which order")
    return source.order(name)
