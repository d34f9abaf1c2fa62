"""Donor FFNs of a cross-architecture arm: tensors in the father's shape and under his names, in memory or kept with a run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.records import DonorLayer, DonorRecord

ORDER = ".order"  # stored beside a tensor: in which order its neurons are replaced


@dataclass(frozen=True)
class DonorFFN:
    """One father layer's donor.

    Args:
        tensors: parameter name of the father -> donor in his shape.
        orders: parameter name -> in [0, 1), broadcast along the tensor: neurons below r are the donor's, at ratio r. Empty for the
            arms that move all neurons together.
        fit: figures of how the donor was made, all finite.
    """

    layer: int
    mother_layer: int | None
    tensors: Mapping[str, Tensor]
    orders: Mapping[str, Tensor] = field(default_factory=dict)
    fit: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Replacement:
    """The donor's values where the order lies below r, the father's elsewhere: here r is a share of neurons."""

    father: Tensor
    donor: Tensor
    order_: Tensor
    linear: bool = False
    known: Mapping[float, Tensor] = field(default_factory=dict)

    def child(self, ratio: float, dtype: torch.dtype = torch.float32) -> Tensor:
        if not 0 <= ratio < math.inf:
            raise ConfigError(f"ratio {ratio} must be a number of at least 0")
        return torch.where(self.order_ < ratio, self.donor, self.father).to(dtype)

    def kept(self, device: torch.device) -> Replacement:
        return Replacement(self.father.to(device), self.donor.to(device), self.order_.to(device))

    def kept_bytes(self, device: torch.device) -> int:
        return self.father.nbytes + self.donor.nbytes + self.order_.nbytes

    def write(self, target: Tensor, ratio: float, dtype: torch.dtype) -> None:
        target.copy_(self.child(ratio, dtype))


class Donors:
    """Donor tensors in memory."""

    def __init__(self, layers: Iterable[DonorFFN]) -> None:
        self.layers = tuple(layers)
        self.tensors = {name: tensor for layer in self.layers for name, tensor in layer.tensors.items()}
        self._orders = {name: order for layer in self.layers for name, order in layer.orders.items()}

    @property
    def replacing(self) -> bool:
        return bool(self._orders)

    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    def tensor(self, name: str) -> Tensor:
        return self.tensors[name]

    def order(self, name: str) -> Tensor:
        return self._orders[name]


class DonorFolder:
    """Donors kept with a run: one safetensors file per father layer, read a tensor at a time."""

    def __init__(self, folder: Path) -> None:
        self.reader = CheckpointReader(folder)
        self._names = tuple(name for name in self.reader.names() if not name.endswith(ORDER))
        self.replacing = len(self._names) < len(self.reader.names())

    def names(self) -> tuple[str, ...]:
        return self._names

    def tensor(self, name: str) -> Tensor:
        return self.reader.tensor(name)

    def order(self, name: str) -> Tensor:
        return self.reader.tensor(name + ORDER)


def keep_donors(
    folder: Path, layers: Iterable[DonorFFN], dtype: Callable[[str], torch.dtype], *, arm: str
) -> DonorRecord:
    """Write donors as they are built, one file per layer, in the father's dtypes; they then read as a ``DonorFolder``.

    Args:
        dtype: parameter name -> dtype of the father's tensor on disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors"):
        old.unlink()
    made = []
    for layer in layers:
        tensors = {name: value.to(dtype(name)).contiguous().cpu() for name, value in layer.tensors.items()}
        tensors |= {
            name + ORDER: value.cpu().clone(memory_format=torch.contiguous_format)
            for name, value in layer.orders.items()
        }
        path = folder / f"layer-{layer.layer:03d}.safetensors"
        partial = path.with_suffix(".partial")
        save_file(tensors, partial)
        partial.replace(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        made.append(
            DonorLayer(
                index=layer.layer, mother_layer=layer.mother_layer, file=path.name, sha256=sha256, fit=dict(layer.fit)
            )
        )
    if not made:
        raise InputError(f"arm {arm} built no donor: no father layer has an FFN it can change")
    return DonorRecord(arm=arm, layers=tuple(made))


def verify_donors(folder: Path, record: DonorRecord) -> bool:
    """Whether the folder holds exactly the donors of the record, by sha256."""
    for layer in record.layers:
        path = folder / layer.file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != layer.sha256:
            return False
    return {path.name for path in folder.glob("*.safetensors")} == {layer.file for layer in record.layers}
