"""Files of moments as a merge reads them: C = E[x x^T] of the input of every linear map, for each parent."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from darwin_mri.errors import InputError
from darwin_mri.merging.regression import Shares, make_shares
from darwin_mri.records import MomentInput, MomentsHeader
from darwin_mri.records.moments import MOMENTS_KEY

HELD = 8  # inputs whose shares are kept for the maps that read them one after the other


class Moments:
    """An open file of moments.

    Args:
        path: the file.

    Raises:
        InputError: it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = read_header(path)
        self._input_of = {name: own for own in self.header.inputs for name in own.maps}

    def input_of(self, tensor: str) -> MomentInput | None:
        """The input of a linear map, by its name on disk; None where it was not measured."""
        return self._input_of.get(tensor)

    def second(self, own: MomentInput, groups: Sequence[str] = ()) -> Tensor:
        """E[x x^T] over the texts of some groups, of all when none is named.

        Args:
            own: the input.
            groups: names of groups.

        Returns:
            fp64, (width, width); (width,), E[x^2], where squares alone were measured.
        """
        return self._mean(own, groups, "")

    def magnitude(self, own: MomentInput, groups: Sequence[str] = ()) -> Tensor:
        """E[|x|], (width,) fp64; arguments as ``second``."""
        return self._mean(own, groups, "|magnitude")

    def _mean(self, own: MomentInput, groups: Sequence[str], suffix: str) -> Tensor:
        chosen = [group for group in self.header.groups if not groups or group.name in groups]
        with safe_open(self.path, "pt") as file:
            sums = [file.get_tensor(f"{own.name}|{group.name}{suffix}").double() for group in chosen]
        return torch.stack(sums).sum(0) / sum(group.tokens for group in chosen)


def read_header(path: Path) -> MomentsHeader:
    """What a file of moments says of itself.

    Raises:
        InputError: it is missing, or no file of moments.
    """
    if not path.is_file():
        raise InputError(f"moments file {path} does not exist: darwin-mri scan MODEL --moments full writes one")
    try:
        with safe_open(path, "pt") as file:
            return MomentsHeader.model_validate_json((file.metadata() or {})[MOMENTS_KEY])
    except (SafetensorError, KeyError, ValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no file of moments ({reason}): scan MODEL --moments full writes one") from None


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Regularisation:
    """What is done to a moment before a system is solved with it: a C + (1 - a) diag(C) + b mean(diag C) I.

    Attributes:
        shrink: a, what off-diagonal elements are multiplied with (RegMean's alpha).
        ridge: b.
    """

    shrink: float
    ridge: float

    def apply(self, moment: Tensor) -> Tensor:
        """The moment, (width, width) or its diagonal (width,), made fit for a solve."""
        if moment.dim() == 1:
            return moment + self.ridge * moment.mean()
        diagonal = moment.diagonal()
        return moment * self.shrink + torch.diag(diagonal * (1 - self.shrink) + self.ridge * diagonal.mean())


@dataclass(frozen=True, eq=False)
class ParentMoments:
    """The moments of every parent of a merge, by the father's names.

    Attributes:
        files: of the father and the other parents, in their order.
        disk_names: of each parent, name that the merge uses -> tensor on that parent's disk.
        groups: of each parent, the groups of texts that count; all when empty.
    """

    files: tuple[Moments, ...]
    disk_names: tuple[Mapping[str, str], ...]
    groups: tuple[tuple[str, ...], ...]
    _shares: dict[Hashable, Shares] = field(default_factory=dict, repr=False)

    def key(self, name: str) -> tuple[str, ...] | None:
        """What is equal for maps that read one input; None where it was not measured of every parent."""
        found = [file.input_of(names[name]) for file, names in zip(self.files, self.disk_names, strict=True)]
        return None if None in found else tuple(own.name for own in found if own is not None)

    def of(self, name: str, *, diagonal: bool) -> tuple[Tensor, ...]:
        """C of every parent, (width, width) fp64 each; the diagonals (width,) where some parent has no more.

        Args:
            name: a map's, as the merge names it; ``key`` is not None.
            diagonal: take the diagonals alone.

        Returns:
            The father's first.
        """
        moments = []
        for file, names, groups in zip(self.files, self.disk_names, self.groups, strict=True):
            own = file.input_of(names[name])
            assert own is not None
            moments.append(file.second(own, groups))
        if diagonal or any(moment.dim() == 1 for moment in moments):
            moments = [moment if moment.dim() == 1 else moment.diagonal().clone() for moment in moments]
        return tuple(moments)

    def shares(self, name: str, regularisation: Regularisation, *, diagonal: bool) -> Shares:
        """What each parent counts for in every direction of a map's input; held for the next maps that read it.

        Args:
            name: the map's, as the merge names it; ``key`` is not None.
            regularisation: of the moments.
            diagonal: take diagonals alone.

        Returns:
            The shares.

        Raises:
            InputError: a moment has no inverse.
        """
        key = (self.key(name), regularisation, diagonal)
        if key not in self._shares:
            moments = [regularisation.apply(moment) for moment in self.of(name, diagonal=diagonal)]
            shares = make_shares(moments, name)
            for old in list(self._shares)[: 1 - HELD]:
                self._shares.pop(old, None)
            self._shares[key] = shares
        return self._shares[key]

    def digests(self, roles: Sequence[str]) -> dict[str, str]:
        """Role -> sha256 of its file."""
        return {role: file_digest(file.path) for role, file in zip(roles, self.files, strict=True)}

    def exchanged(self) -> ParentMoments:
        """The null: each parent has the moments of the next one, the last those of the father."""
        turn = [*range(1, len(self.files)), 0]
        return ParentMoments(
            tuple(self.files[i] for i in turn),
            tuple(self.disk_names[i] for i in turn),
            tuple(self.groups[i] for i in turn),
        )


def own_groups(headers: Sequence[MomentsHeader]) -> tuple[tuple[str, ...], ...]:
    """The groups of texts that each parent is best at: of the least NLL per byte among all.

    Args:
        headers: of the parents' files, over the same texts.

    Returns:
        Names by parent; empty, which means all, for a parent that is best at none.
    """
    best = [
        min(range(len(headers)), key=lambda i: headers[i].groups[g].nll_per_byte) for g in range(len(headers[0].groups))
    ]
    names = [group.name for group in headers[0].groups]
    return tuple(
        tuple(name for name, owner in zip(names, best, strict=True) if owner == i) for i in range(len(headers))
    )
