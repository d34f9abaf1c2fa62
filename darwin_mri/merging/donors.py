"""Donor FFNs of a cross-architecture arm: tensors in the father's shapes and names, in memory or kept with a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import InputError
from darwin_mri.files import writing
from darwin_mri.records import DonorLayer, DonorRecord

ORDER = ".order"  # stored beside a tensor: in which order its neurons are replaced


@dataclass(frozen=True)
class DonorFFN:
    """One father layer's donor.

    Attributes:
        layer: the father's layer.
        mother_layer: the mother's layer that it was built from; None where it was built from none.
        tensors: parameter name of the father -> donor in the father's shape.
        orders: parameter name -> in [0, 1), broadcast along the tensor: at ratio r the neurons below r are the donor's.
            Empty for the arms that move all neurons together.
        fit: figures of how the donor was made, all finite.
    """

    layer: int
    mother_layer: int | None
    tensors: Mapping[str, Tensor]
    orders: Mapping[str, Tensor] = field(default_factory=dict)
    fit: Mapping[str, float] = field(default_factory=dict)


class Donors:
    """Donor tensors in memory.

    Args:
        layers: one donor for each father layer that has one.
    """

    def __init__(self, layers: Iterable[DonorFFN]) -> None:
        self.layers = tuple(layers)
        self.tensors = {name: tensor for layer in self.layers for name, tensor in layer.tensors.items()}
        self._orders = {name: order for layer in self.layers for name, order in layer.orders.items()}

    @property
    def replacing(self) -> bool:
        """Whether the ratio is a share of neurons."""
        return bool(self._orders)

    def names(self) -> tuple[str, ...]:
        """The father's parameters that have a donor."""
        return tuple(self.tensors)

    def tensor(self, name: str) -> Tensor:
        """The donor of a parameter, in its shape."""
        return self.tensors[name]

    def order(self, name: str) -> Tensor:
        """When each neuron of a parameter is replaced, in [0, 1)."""
        return self._orders[name]


class DonorFolder:
    """Donors kept with a run: one safetensors file per father layer, read a tensor at a time.

    Args:
        folder: where ``keep_donors`` has put them.
    """

    def __init__(self, folder: Path) -> None:
        self.reader = CheckpointReader(folder)
        self._names = tuple(name for name in self.reader.names() if not name.endswith(ORDER))
        self.replacing = len(self._names) < len(self.reader.names())

    def names(self) -> tuple[str, ...]:
        """The father's parameters that have a donor."""
        return self._names

    def tensor(self, name: str) -> Tensor:
        """The donor of a parameter, in its shape and dtype."""
        return self.reader.tensor(name)

    def order(self, name: str) -> Tensor:
        """When each neuron of a parameter is replaced, in [0, 1)."""
        return self.reader.tensor(name + ORDER)


def keep_donors(
    folder: Path, layers: Iterable[DonorFFN], dtype: Callable[[str], torch.dtype], *, arm: str
) -> DonorRecord:
    """Write donors as they are built, one file per layer, in the father's dtypes; they then read as a ``DonorFolder``.

    Args:
        folder: made where it is missing; donors of an earlier run in it go.
        layers: the donors; each is written before the next is built.
        dtype: parameter name -> dtype of the father's tensor on disk.
        arm: the name of the arm that builds them.

    Returns:
        The record of the files, with their sha256.

    Raises:
        InputError: the arm built none.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.safetensors"):
            old.unlink()
    records = []
    for layer in layers:
        tensors = {name: value.to(dtype(name)).contiguous().cpu() for name, value in layer.tensors.items()}
        tensors |= {
            name + ORDER: value.cpu().clone(memory_format=torch.contiguous_format)
            for name, value in layer.orders.items()
        }
        path = folder / f"layer-{layer.layer:03d}.safetensors"
        _save(tensors, path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        records.append(
            DonorLayer(
                index=layer.layer, mother_layer=layer.mother_layer, file=path.name, sha256=sha256, fit=dict(layer.fit)
            )
        )
    if not records:
        raise InputError(f"arm {arm} built no donor: no father layer has an FFN it can change")
    return DonorRecord(arm=arm, layers=tuple(records))


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    with writing(path):
        try:
            save_file(tensors, partial)
        except SafetensorError as error:  # what the system refuses, as text
            raise OSError(str(error)) from None
        partial.replace(path)


def verify_donors(folder: Path, record: DonorRecord) -> bool:
    """Whether the folder holds exactly the donors of the record, by sha256."""
    for layer in record.layers:
        path = folder / layer.file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != layer.sha256:
            return False
    return {path.name for path in folder.glob("*.safetensors")} == {layer.file for layer in record.layers}
