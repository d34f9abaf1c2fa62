"""Where a child's tensors come from: model folders, read one tensor at a time, and donors built from a mother."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import CheckpointError

SHUFFLED = 2**26  # values put in a random order at once: an order takes four times the memory of what it orders


class TensorSource(Protocol):
    """Weights by the father's parameter names."""

    def tensor(self, name: str) -> torch.Tensor: ...


class FolderSource:
    """A model folder's tensors under the father's parameter names.

    Args:
        disk_names: parameter name -> tensor name on disk.
    """

    def __init__(self, reader: CheckpointReader, disk_names: Mapping[str, str]) -> None:
        self.reader, self.disk_names = reader, disk_names

    def tensor(self, name: str) -> torch.Tensor:
        return self.reader.tensor(self.disk_names[name])

    def dtype(self, name: str) -> torch.dtype:
        return self.reader.dtype(self.disk_names[name])


class ShuffledSource:
    """A null mother: what she would add has its values shuffled within each tensor, or block of ``SHUFFLED`` values.

    Args:
        mother: whose tensors are shuffled.
        origin: what her contribution is measured from (the base, or the father of a task vector); None shuffles the whole tensor.
        seed: of the order.
    """

    def __init__(self, mother: TensorSource, origin: TensorSource | None, seed: int) -> None:
        self.mother, self.origin, self.seed = mother, origin, seed

    def tensor(self, name: str) -> torch.Tensor:
        mother = self.mother.tensor(name).float()
        if self.origin is None:
            return shuffled(mother, self.seed, name)
        origin = self.origin.tensor(name).float()
        return origin + shuffled(mother - origin, self.seed, name)


class RandomSource:
    """A null mother: random tensors with the norms of hers, row by row of the neuron dimension."""

    def __init__(self, mother: TensorSource, seed: int) -> None:
        self.mother, self.seed = mother, seed

    def tensor(self, name: str) -> torch.Tensor:
        mother = self.mother.tensor(name).float()
        drawn = torch.randn(mother.shape, generator=_generator(self.seed, name, "random"))
        # The neurons of gate and up are rows, those of down columns; the shorter side is the stream.
        axis = 1 if mother.dim() < 2 or mother.shape[0] >= mother.shape[1] else 0
        if mother.dim() < 2:
            return drawn * (mother.norm() / drawn.norm().clamp_min(1e-12))
        return drawn * (mother.norm(dim=axis, keepdim=True) / drawn.norm(dim=axis, keepdim=True).clamp_min(1e-12))


def shuffled(tensor: torch.Tensor, seed: int, name: str) -> torch.Tensor:
    """The same values in a random order that depends on (seed, name) only; within blocks of ``SHUFFLED`` where there are more."""
    generator, flat = _generator(seed, name, "shuffle"), tensor.flatten()
    parts = [part[torch.randperm(len(part), generator=generator)] for part in flat.split(SHUFFLED)]
    return torch.cat(parts).reshape(tensor.shape)


def _generator(seed: int, name: str, use: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}\0{name}\0{use}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def same_shapes(names: list[str], father: FolderSource, other: FolderSource, ref: str) -> None:
    """Raise CheckpointError where a tensor of ``other`` has another shape than the father's; one line, naming the first."""
    for name in names:
        ours, theirs = father.reader.shape(father.disk_names[name]), other.reader.shape(other.disk_names[name])
        if ours != theirs:
            raise CheckpointError(f"{ref} is no sibling of the father: {name} has shape {theirs}, the father's {ours}")
