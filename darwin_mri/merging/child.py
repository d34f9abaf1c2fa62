"""Writing a child: the father's folder with some tensors' bytes replaced, whole or not at all."""

from __future__ import annotations

import os
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from darwin_mri.checkpoints.atomic_folder import NOTE, move_into_place, partial_folder, refuse_occupied
from darwin_mri.checkpoints.child_reader import ChildReader
from darwin_mri.checkpoints.hashed_file import HashedFile
from darwin_mri.checkpoints.reader import CheckpointReader, within
from darwin_mri.checkpoints.verify import INDEX
from darwin_mri.checkpoints.writing import (
    CHUNK,
    all_finite,
    as_bytes,
    bytes_of,
    other_files,
    write_bytes,
    write_files,
    write_folder,
    write_synced,
)
from darwin_mri.errors import CheckpointError
from darwin_mri.records import ChildFiles

GLANCE = 2**16  # bytes compared at a time


def write_child(
    father: Path,
    out: Path,
    changed: Sequence[str],
    compute: Callable[[str], torch.Tensor],
    *,
    note: dict[str, Any],
    on_tensor: Callable[[str], None] | None = None,
) -> ChildFiles:
    """Write the child's model folder: the father's files and shard layout, with the bytes of ``changed`` replaced.

    Each shard is streamed from the father's, so peak memory is one tensor; everything is written to a hidden sibling of
    ``out`` and renamed at the end, so an error, an interrupt or a full disk leaves ``out`` as it was.

    Args:
        father: the father's model folder.
        out: the child's folder; must not exist, be empty, or hold an earlier child, which is then replaced.
        changed: names of the tensors to replace.
        compute: name -> the new tensor, in the father's shape and dtype; called once per name, in file order.
        note: what ``darwin_mri.json`` says of the child (genealogy, genome); a ``genealogy`` list is returned as well.
        on_tensor: called with each name once its bytes are written.

    Returns:
        The sha256 of each shard, and the tensors whose bytes differ from the father's.

    Raises:
        CheckpointError: the father is damaged or lacks a tensor.
        InputError: ``out`` is in use, or a computed tensor has another shape or dtype or is not finite.
        DarwinError: the disk is too small; says how many bytes are missing.
    """
    father, out = Path(father).resolve(), Path(os.path.abspath(out))
    refuse_occupied(father, out)
    if (view := ChildReader(father)).rounded:
        return _write_rounded(view, out, changed, compute, note, on_tensor)
    as_bytes(note)  # a note that cannot be written is refused before hours of work, not after
    with CheckpointReader(father) as reader:
        sources = {shard: within(father, father / shard) for shard in reader.shards()}
        others = {name: within(father, father / name) for name in other_files(father, reader.shards())}
        for name in changed:
            reader.location(name)  # raises where the father lacks it
        needed = sum(path.stat().st_size for path in (*sources.values(), *others.values()))
        with partial_folder(out, needed) as partial:
            differing: list[str] = []
            opened: dict[str, HashedFile] = {}
            with ExitStack() as stack:  # all shards are closed in the end: one is flushed while the next is written
                for shard, source in sources.items():
                    (partial / shard).parent.mkdir(parents=True, exist_ok=True)
                    new = opened[shard] = stack.enter_context(HashedFile(partial / shard))
                    with source.open("rb") as old:
                        for name, differs in _write_shard(_Shard(old, new), shard, reader, set(changed), compute):
                            if differs:
                                differing.append(name)
                            if on_tensor is not None:
                                on_tensor(name)
                    new.finish()
            digests = {shard: file.sha256 for shard, file in opened.items()}
            files = ChildFiles(
                shards=digests,
                changed=tuple(sorted(differing)),
                tensors=len(reader.names()),
                genealogy=tuple(note.get("genealogy", ())),
            )
            write_files(partial, others)
            write_synced(partial / NOTE, as_bytes({"schema": 1, **note, "shards": digests, "changed": files.changed}))
            move_into_place(partial, out)
    return files


def _write_rounded(
    father: ChildReader,
    out: Path,
    changed: Sequence[str],
    compute: Callable[[str], torch.Tensor],
    note: dict[str, Any],
    on_tensor: Callable[[str], None] | None,
) -> ChildFiles:
    """Write the child of an unpacked father, whose tensors have other dtypes than the father's."""
    moved, differing = set(changed), list[str]()
    for name in changed:
        father.location(name)  # raises where the father lacks it

    def tensor(name: str) -> torch.Tensor:
        own = father.tensor(name)
        if name not in moved:
            return own
        made = compute(name)
        if not torch.equal(made.to("cpu"), own):
            insort(differing, name)
        return made

    forms = {name: (father.dtype(name), father.shape(name)) for name in father.names()}
    others = [name for name in other_files(father.folder, father.shards()) if name != INDEX]
    digests = write_folder(
        out,
        forms,
        tensor,
        {name: within(father.folder, father.folder / name) for name in others},
        note={**note, "changed": differing},
        on_tensor=lambda name: on_tensor(name) if on_tensor is not None and name in moved else None,
    )
    genealogy = tuple(note.get("genealogy", ()))
    return ChildFiles(shards=digests, changed=tuple(differing), tensors=len(forms), genealogy=genealogy)


class _Shard:
    """One weight file on its way from the father to the child."""

    def __init__(self, old: BinaryIO, new: HashedFile) -> None:
        self._old, self._new = old, new

    def copy_until(self, offset: int) -> None:
        """Copy the father's bytes up to an absolute offset."""
        for piece in self._pieces(offset - self._old.tell()):
            self._new.write(piece)

    def copy_rest(self) -> None:
        """Copy the father's bytes up to the end."""
        self.copy_until(os.fstat(self._old.fileno()).st_size)

    def copy_tensor(self, length: int, name: str, dtype: torch.dtype) -> None:
        """Copy the father's next tensor.

        Args:
            length: its bytes.
            name: its name on disk.
            dtype: its dtype on disk.

        Raises:
            CheckpointError: it has NaN values, which no model has on purpose, or the file ends too early.
        """
        for piece in self._pieces(length):
            values = torch.frombuffer(bytearray(piece), dtype=torch.uint8).view(dtype)
            if not all_finite(values) and bool(values.isnan().any()):
                raise CheckpointError(f"the father's tensor '{name}' has NaN values: download the model again")
            self._new.write(piece)

    def replace(self, content: np.ndarray, length: int) -> bool:
        """Write ``content`` in place of the father's next ``length`` bytes; True where they differ."""
        end, differs = self._old.tell() + length, False
        for start in range(0, length, GLANCE):
            piece = content[start : start + GLANCE]
            if not np.array_equal(np.frombuffer(self._old.read(piece.size), dtype=np.uint8), piece):
                differs = True  # the father's further bytes are of no interest
                break
        self._old.seek(end)
        write_bytes(self._new, content)
        return differs

    def _pieces(self, length: int) -> Iterator[bytes]:
        """The father's next ``length`` bytes, read a chunk at a time."""
        while length > 0:
            piece = self._old.read(min(length, CHUNK))
            if not piece:
                raise CheckpointError(f"{self._old.name} became shorter while it was read: download it again")
            length -= len(piece)
            yield piece


def _write_shard(
    stream: _Shard,
    shard: str,
    reader: CheckpointReader,
    changed: set[str],
    compute: Callable[[str], torch.Tensor],
) -> Iterator[tuple[str, bool]]:
    """Write a weight file; yields each changed tensor once it is written, and whether its bytes differ."""
    for offset, length, name in _in_file_order(reader, shard):
        stream.copy_until(offset)
        if name in changed:
            form = reader.dtype(name), reader.shape(name)
            yield name, stream.replace(bytes_of(name, compute(name), form), length)
        else:
            stream.copy_tensor(length, name, reader.dtype(name))
    stream.copy_rest()


def _in_file_order(reader: CheckpointReader, shard: str) -> list[tuple[int, int, str]]:
    """(offset, length, name) of a weight file's tensors as they lie in it."""
    places = ((*reader.location(name), name) for name in reader.names())
    return sorted((offset, length, name) for where, offset, length, name in places if where == shard)
