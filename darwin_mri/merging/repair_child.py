"""Repaired maps kept in a folder, a file for each layer, and the child on disk that has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from darwin_mri.checkpoints import CheckpointReader
from darwin_mri.errors import InputError
from darwin_mri.files import writing
from darwin_mri.merging.child import write_child
from darwin_mri.merging.genome_child import GenomeWork
from darwin_mri.merging.merge import Merge
from darwin_mri.records import ChildFiles, RepairedMap
from darwin_mri.records.genealogy import read_birth
from darwin_mri.run import Progress

FIGURES = "figures"


class RepairFolder:
    """Layers of one repair, so that a repair that was killed goes on with the next layer.

    Args:
        folder: of the layers' files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, layer: int) -> tuple[dict[str, Tensor], tuple[RepairedMap, ...]] | None:
        """A layer's maps by parameter and their figures; None where it is not there."""
        path = self._path(layer)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as opened:
                figures = json.loads(opened.metadata()[FIGURES])
            return load_file(path), tuple(RepairedMap.model_validate(one) for one in figures)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path.name} of state/repair is damaged ({error}): delete it and resume") from None

    def save(self, layer: int, tensors: Mapping[str, Tensor], figures: Sequence[RepairedMap]) -> None:
        """Keep a layer; the file has its name once it is whole.

        Args:
            layer: its number.
            tensors: its maps by parameter, in the child's dtypes.
            figures: of its maps.
        """
        path = self._path(layer)
        partial = path.with_suffix(".partial")
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                figured = json.dumps([one.model_dump(mode="json") for one in figures])
                save_file(content, partial, {FIGURES: figured})
            except SafetensorError as error:  # what the system refuses, as text
                raise OSError(str(error)) from None
            partial.replace(path)

    def remove(self) -> None:
        """Delete all layers."""
        if self.folder.is_dir():
            with writing(self.folder):
                rmtree(self.folder)

    def _path(self, layer: int) -> Path:
        return self.folder / f"layer-{layer:03d}.safetensors"


def write_repaired(
    work: GenomeWork,
    merge: Merge,
    repaired: Path,
    out: Path,
    strength: float,
    progress: Progress,
) -> ChildFiles:
    """Write a genome's child with repaired maps.

    Args:
        work: what the unrepaired child is made of.
        merge: turns a ratio into a tensor; its father gives all else.
        repaired: folder of the repaired maps, by the names of parameters.
        out: the child's folder.
        strength: of the repair, for the child's note.
        progress: where the work reports.

    Returns:
        As ``write_child``.

    Raises:
        CheckpointError, InputError, DarwinError: as ``write_child``.
    """
    with CheckpointReader(repaired) as reader:
        maps = {merge.on_disk(name): name for name in reader.names()}
        maps |= {copy: maps[name] for copy, name in merge.father.copies.items() if name in maps}
        names = sorted({*work.on_disk, *maps})

        def compute(name: str) -> Tensor:
            return reader.tensor(maps[name]) if name in maps else merge.tensor(*work.arguments(name))

        note = {**work.note, "genealogy": _repaired(work.note["genealogy"]), "repair": {"strength": strength}}
        with progress.stage("write repaired child", len(names)) as advance:
            return write_child(
                merge.father.reader.folder, out, names, compute, note=note, on_tensor=lambda _: advance(1)
            )


def _repaired(genealogy: Sequence[str]) -> list[str]:
    """A genealogy whose last birth says that the child was repaired."""
    *before, last = genealogy
    birth = read_birth(last)
    if birth is None:
        return [*before, last]
    return [*before, type(birth)(birth.child, birth.parents, f"{birth.method}, repaired").line]
