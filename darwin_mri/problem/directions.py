"""What each gene adds to its tensors, held where there is room: on the device, in host memory, or on disk alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.assembly import Assembly
from darwin_mri.merging.merge import Merge
from darwin_mri.mri.slopes import Directions
from darwin_mri.problem.space import MergeSpace


@dataclass
class Shelf:
    """Tensors that are kept once they have been computed, as far as there is room; others are computed each time.

    Attributes:
        device: where they are kept.
        room: bytes for them; None for no bound.
    """

    device: torch.device
    room: int | None
    _kept: dict[object, Tensor] = field(default_factory=dict[object, Tensor])
    _bytes: int = 0

    def get(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        """A tensor by its key, on any device."""
        if key not in self._kept:
            tensor = make()
            if self.room is not None and self._bytes + tensor.nbytes > self.room:
                return tensor
            self._bytes += tensor.nbytes
            self._kept[key] = tensor.to(self.device)
        return self._kept[key]


@dataclass(frozen=True)
class FiledDirection:
    """A direction that is computed from the parents' files when it is asked for (``mri.blended.Direction``).

    Attributes:
        merge: whose child is moved.
        name: of the parameter.
        role: of the parent whose gene it is.
        reference: ratio at which the chord of a method that is not linear in it is taken.
        shelf: where it may be kept.
        device: where it is needed.
        assembly: what the parameter is assembled by from several tensors on disk; None where it is one.
    """

    merge: Merge
    name: str
    role: str
    reference: float
    shelf: Shelf
    device: torch.device
    assembly: Assembly | None = None

    def whole(self) -> Tensor:
        """All of it, fp32."""
        return self.shelf.get((self.name, self.role), self._make).to(self.device)

    def rows(self, rows: Tensor) -> Tensor:
        """Some rows of it, fp32: of a large embedding those of the text alone are computed."""
        if self.shelf.room is None:
            return self.whole()[rows]
        return self.merge.direction(self.name, self.reference, self.role, rows.cpu()).to(self.device)

    def _make(self) -> Tensor:
        if self.assembly is None:
            return self.merge.direction(self.name, self.reference, self.role)
        parts = [self.merge.direction(part, self.reference, self.role) for part in self.assembly.names]
        return self.assembly.build(parts)[self.name]


def filed_directions(space: MergeSpace, father: LoadedModel, reference: float, shelf: Shelf) -> Directions:
    """Gene -> {parameter: how the child's tensor moves with the gene's ratio}.

    Args:
        space: of plain ratios.
        father: says where they are needed.
        reference: ratio at which the chord of a method that is not linear in it is taken.
        shelf: where they are kept.

    Returns:
        The directions; none has been computed.
    """
    first = {part: assembly for assembly in space.merge.father.assemblies for part in assembly.names}
    directions: dict[str, dict[str, FiledDirection]] = {}
    for gene in space.space.genes:
        own = directions.setdefault(gene.name, {})
        for name in gene.tensors:
            assembly = first.get(name)  # parts of one parameter belong to one gene
            if assembly is None:
                own[name] = FiledDirection(space.merge, name, gene.parent, reference, shelf, father.device)
            elif name == assembly.names[0]:
                for whole in _outputs(space.merge, assembly):
                    own[whole] = FiledDirection(
                        space.merge, whole, gene.parent, reference, shelf, father.device, assembly
                    )
    return directions


def _outputs(merge: Merge, assembly: Assembly) -> tuple[str, ...]:
    """The parameters that come out of an assembly."""
    return tuple(assembly.build([merge.father.tensor(part).to("meta") for part in assembly.names]))
