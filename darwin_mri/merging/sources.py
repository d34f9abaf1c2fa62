"""Where a child's tensors come from: model folders, read one tensor at a time, and null versions of any source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from darwin_mri import seeds
from darwin_mri.checkpoints.assembly import Assembly
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.records.roles import MOTHER

SHUFFLED = 2**26  # values put in a random order at once: an order takes four times the memory of what it orders


class TensorSource(Protocol):
    """Weights by the father's parameter names."""

    def tensor(self, name: str) -> Tensor:
        """The tensor of a parameter name, in the father's shape."""
        ...


class FolderSource:
    """A model folder's tensors under the father's parameter names.

    Args:
        reader: the open folder.
        disk_names: parameter name -> tensor name on disk.
        copies: tensor on disk -> the one that it repeats: both change together.
        assemblies: parameters whose parts have names of their own here.
        rounded: tensor on disk -> the dtype it gets in a child, where that is another than on disk.
        linear: tensor on disk that is a linear map of the layers -> whether it is stored as (inputs, outputs).
    """

    def __init__(
        self,
        reader: CheckpointReader,
        disk_names: Mapping[str, str],
        copies: Mapping[str, str] | None = None,
        assemblies: Iterable[Assembly] = (),
        rounded: Mapping[str, torch.dtype] | None = None,
        linear: Mapping[str, bool] | None = None,
    ) -> None:
        self.reader, self.disk_names, self.copies = reader, disk_names, copies or {}
        self.assemblies = tuple(assemblies)
        self.rounded, self.linear = rounded or {}, linear or {}

    def with_names(self, on_disk: Iterable[str]) -> FolderSource:
        """The same folder with more tensors, which go by their names on disk."""
        names = {**self.disk_names, **{name: name for name in on_disk}}
        return FolderSource(self.reader, names, self.copies, self.assemblies, self.rounded, self.linear)

    def tensor(self, name: str) -> Tensor:
        """The tensor of a parameter name, in the dtype it has on disk."""
        return self.reader.tensor(self.disk_names[name])

    def dtype(self, name: str) -> torch.dtype:
        """The dtype that a parameter has in a child: as on disk, unless this folder was unpacked."""
        disk = self.disk_names[name]
        return self.rounded.get(disk) or self.reader.dtype(disk)

    def in_child(self, name: str) -> Tensor:
        """The tensor of a parameter name as a child has it that takes nothing from other parents."""
        return self.tensor(name).to(self.dtype(name))

    def rounded_names(self) -> tuple[str, ...]:
        """Parameters that a child has in another dtype than this folder."""
        return tuple(name for name, disk in self.disk_names.items() if disk in self.rounded)


class ShuffledSource:
    """A null parent: what it would add has its values shuffled within each tensor, or block of ``SHUFFLED`` values.

    Args:
        source: the parent.
        origin: what its contribution is measured from and stays as it is (the base, or the father of a task vector);
            None shuffles the whole tensor.
        seed: of the order.
        role: of the parent: several are shuffled in orders of their own.
    """

    def __init__(
        self, source: TensorSource, origin: TensorSource | None = None, *, seed: int, role: str = MOTHER
    ) -> None:
        self.source, self.origin, self.seed = source, origin, seed
        self._suffix = "" if role == MOTHER else f"@{role}"

    def tensor(self, name: str) -> Tensor:
        """The parent's fp32 tensor with its contribution shuffled."""
        tensor, draw = self.source.tensor(name).float(), name + self._suffix
        if self.origin is None:
            return shuffled(tensor, self.seed, draw)
        origin = self.origin.tensor(name).float()
        return origin + shuffled(tensor - origin, self.seed, draw)


class RandomSource:
    """A null parent: noise in place of what it would add, with the norms of that, neuron by neuron.

    Args:
        source: the parent.
        origin: what its contribution is measured from and stays as it is (the base, or the father of a task vector);
            None makes the whole tensor noise.
        seed: of the noise.
    """

    def __init__(self, source: TensorSource, origin: TensorSource | None = None, *, seed: int) -> None:
        self.source, self.origin, self.seed = source, origin, seed

    def tensor(self, name: str) -> Tensor:
        """The parent's fp32 tensor with its contribution replaced."""
        tensor = self.source.tensor(name).float()
        if self.origin is None:
            return noise_like(tensor, self.seed, name)
        origin = self.origin.tensor(name).float()
        return origin + noise_like(tensor - origin, self.seed, name)


def shuffled(tensor: Tensor, seed: int, name: str) -> Tensor:
    """The same values in a random order that depends on (seed, name) only.

    Args:
        tensor: any shape; more than ``SHUFFLED`` values are shuffled in blocks of that many.
        seed: of the order.
        name: the tensor's.

    Returns:
        A tensor of the same shape and dtype.
    """
    generator, flat = _generator(seed, name, "shuffle"), tensor.flatten()
    parts = [part[torch.randperm(len(part), generator=generator)] for part in flat.split(SHUFFLED)]
    return torch.cat(parts).reshape(tensor.shape)


def noise_like(tensor: Tensor, seed: int, name: str) -> Tensor:
    """Normal noise that depends on (seed, name) only, with the norm that each neuron has in a tensor.

    Args:
        tensor: fp32, any shape. A matrix has its neurons along the longer side: gate and up as rows, down as columns.
        seed: of the noise.
        name: the tensor's.

    Returns:
        fp32 noise of the same shape.
    """
    drawn = torch.randn(tensor.shape, generator=_generator(seed, name, "random"))
    if tensor.dim() < 2:
        return drawn * (tensor.norm() / drawn.norm().clamp_min(1e-12))
    stream = 1 if tensor.shape[0] >= tensor.shape[1] else 0  # the axis along which a neuron's weights lie
    return drawn * (tensor.norm(dim=stream, keepdim=True) / drawn.norm(dim=stream, keepdim=True).clamp_min(1e-12))


def _generator(seed: int, name: str, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(seeds.integer(seed, name, use))
