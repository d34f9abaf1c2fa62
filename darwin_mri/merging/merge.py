"""What a child's tensor is: one pair, one method, one ratio per tensor. Memory and disk both ask here, so they agree bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import InputError
from darwin_mri.merging.operators import merge_tensor, round_once

LINEAR_IN_RATIO = ("linear", "task_arithmetic", "dare_linear")  # child = father + ratio * direction


class TensorSource(Protocol):
    """Weights by parameter name."""

    def tensor(self, name: str) -> torch.Tensor: ...


class FolderSource:
    """A model folder's tensors under their in-memory names.

    Args:
        disk_names: parameter name -> tensor name on disk.
    """

    def __init__(self, reader: CheckpointReader, disk_names: Mapping[str, str]) -> None:
        self.reader, self.disk_names = reader, disk_names

    def tensor(self, name: str) -> torch.Tensor:
        return self.reader.tensor(self.disk_names[name])


class Donors:
    """Tensors built in memory: the donor FFNs of a cross-architecture arm."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def tensor(self, name: str) -> torch.Tensor:
        return self.tensors[name]


def shuffled(tensor: torch.Tensor, seed: int, name: str) -> torch.Tensor:
    """The same values in a random order that depends on (seed, name) only."""
    digest = hashlib.sha256(f"{seed}\0{name}\0shuffle".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].reshape(tensor.shape)


def along(father: torch.Tensor, direction: torch.Tensor, ratio: float) -> torch.Tensor:
    """father + ratio * direction, rounded once to the father's dtype: the one expression memory and disk share."""
    return round_once(father.float() + ratio * direction, father.dtype)


class Merge:
    """Child tensors of one pair.

    Args:
        method: an operator's name; an arm is ``linear`` toward its donors.
        base: common ancestor, or None.
        shuffle_donor: null child: what the mother would add has its values shuffled within each tensor.
    """

    def __init__(
        self, father: TensorSource, mother: TensorSource, base: TensorSource | None, *, method: str, density: float,
        rescale: str, seed: int, shuffle_donor: bool = False,
    ) -> None:  # fmt: skip
        self.father, self.mother, self.base = father, mother, base
        self.method, self.density, self.rescale, self.seed = method, density, rescale, seed
        self.shuffle_donor = shuffle_donor

    def exact(self, name: str, ratio: float) -> torch.Tensor:
        """The child's tensor in float32 before rounding."""
        father, mother, base = self._load(name)
        return merge_tensor(
            self.method, father=father, mother=mother, base=base, ratio=ratio, density_mother=self.density, seed=self.seed,
            name=name, rescale=self.rescale,
        )  # fmt: skip

    def tensor(self, name: str, ratio: float) -> torch.Tensor:
        """The child's tensor in the father's dtype; ratio 0 is the father's own tensor whatever the method."""
        original = self.father.tensor(name)
        if ratio == 0.0:
            return original
        if self.method in LINEAR_IN_RATIO:
            return along(original, self.direction(name, 1.0), ratio)
        return round_once(self.exact(name, ratio), original.dtype)

    def direction(self, name: str, ratio: float) -> torch.Tensor:
        """(child at ``ratio`` - father) / ratio in float32: what a gene adds per unit of ratio. The same at every ratio for
        the methods that are linear in it, a chord for the others."""
        if self.method in LINEAR_IN_RATIO:
            ratio = 1.0
        return (self.exact(name, ratio) - self.father.tensor(name).float()) / ratio

    def _load(self, name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        father, mother = self.father.tensor(name).float(), self.mother.tensor(name).float()
        base = None if self.base is None else self.base.tensor(name).float()
        if mother.shape != father.shape or (base is not None and base.shape != father.shape):
            other = mother.shape if mother.shape != father.shape else (base.shape if base is not None else ())
            raise InputError(
                f"tensor {name} has shape {tuple(father.shape)} in the father and {tuple(other)} elsewhere: not siblings"
            )
        if self.shuffle_donor:
            origin = father if base is None else base
            if self.method == "linear":  # an interpolation's donor is the whole tensor
                mother = shuffled(mother, self.seed, name)
            else:
                mother = origin + shuffled(mother - origin, self.seed, name)
        return father, mother, base
