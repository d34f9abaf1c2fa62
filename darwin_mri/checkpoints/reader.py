"""Lazy reading of a model folder of safetensors: names, shapes and places from the headers, tensors one at a time."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from darwin_mri.checkpoints.verify import read_header
from darwin_mri.errors import CheckpointError

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "BOOL": torch.bool,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
}


@dataclass(frozen=True)
class _Entry:
    """Where one tensor lies: its shard, dtype, shape, and absolute byte range."""

    shard: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    length: int


class CheckpointReader:
    """The tensors of a model folder, whatever its shard layout.

    Opening reads only the shards' headers and checks them against the files' sizes. The shards are, as transformers
    chooses them, ``model.safetensors``, else those of ``model.safetensors.index.json``; without either, every
    ``*.safetensors``.

    Args:
        folder: a model folder, or an adapter's. Its weight files may be links only within it or, in a hub cache, into
            the model's blobs.
        file: the one weight file to read; those that transformers chooses when None.

    Raises:
        CheckpointError: there are no safetensors, or a file is missing, cut short, damaged or outside the folder.
    """

    def __init__(self, folder: Path, file: str | None = None) -> None:
        self.folder = Path(folder)
        self._entries: dict[str, _Entry] = {}
        self._files: dict[str, Path] = {}  # shard -> the file behind its name
        if not self.folder.is_dir():
            raise CheckpointError(f"{self.folder} is not a folder: give a model folder with safetensors")
        weight_map = _weight_map(self.folder) if file is None else {}
        named = set(weight_map.values()) if weight_map else ()
        self._shards = (file,) if file else tuple(sorted(named or _single_or_all(self.folder)))
        for shard in self._shards:
            self._files[shard] = within(self.folder, self.folder / shard)
            self._add(_read_header(self.folder / shard, shard))
        for name, shard in sorted((weight_map or {}).items()):
            if name not in self._entries or self._entries[name].shard != shard:
                raise CheckpointError(
                    f"{self.folder / shard} lacks tensor '{name}' that the index promises: download it again"
                )

    def _add(self, entries: dict[str, _Entry]) -> None:
        for name, entry in entries.items():
            if name in self._entries:
                both = f"{self._entries[name].shard} and {entry.shard}"
                raise CheckpointError(
                    f"{self.folder}: tensor '{name}' is in both {both}: keep the files of one model only"
                )
            self._entries[name] = entry

    def names(self) -> tuple[str, ...]:
        """All tensor names, sorted."""
        return tuple(sorted(self._entries))

    def shards(self) -> tuple[str, ...]:
        """The weight files, relative to the folder, sorted."""
        return self._shards

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of tensor ``name``."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """The dtype tensor ``name`` is stored in."""
        return self._entry(name).dtype

    def shard(self, name: str) -> str:
        """The weight file that holds tensor ``name``."""
        return self._entry(name).shard

    def location(self, name: str) -> tuple[str, int, int]:
        """(weight file, absolute byte offset in it, length in bytes) of tensor ``name``."""
        entry = self._entry(name)
        return entry.shard, entry.offset, entry.length

    def tensor(self, name: str) -> torch.Tensor:
        """Tensor ``name`` on the CPU, a private map of the file: writing to the tensor never reaches the file.

        Raises:
            CheckpointError: no such tensor, or its file can no longer be read.
        """
        entry = self._entry(name)
        if not entry.length:
            return torch.empty(entry.shape, dtype=entry.dtype)
        before = entry.offset % mmap.ALLOCATIONGRANULARITY  # a map begins at a page
        try:
            with self._files[entry.shard].open("rb") as stream:
                pages = mmap.mmap(
                    stream.fileno(), before + entry.length, offset=entry.offset - before, access=mmap.ACCESS_COPY
                )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self.folder / entry.shard}: tensor '{name}' cannot be read ({error}): download it again"
            ) from None
        content = torch.frombuffer(pages, dtype=torch.uint8, offset=before, count=entry.length)
        if content.data_ptr() % entry.dtype.itemsize:
            content = content.clone()
        return content.view(entry.dtype).reshape(entry.shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Nothing is held open between two reads."""

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            raise CheckpointError(f"{self.folder} has no tensor '{name}': compare the name with the folder's own")
        return self._entries[name]


def within(folder: Path, path: Path) -> Path:
    """The real file behind ``path``, which must lie inside ``folder``.

    One layout may leave the folder: the Hugging Face cache, where ``snapshots/REVISION/FILE`` links to ``blobs/HASH``
    of the same model.

    Raises:
        CheckpointError: the file is missing or lies elsewhere.
    """
    root = folder.resolve()
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise CheckpointError(f"{path} is missing or a broken link: download the model again") from None
    in_hub_cache = root.parent.name == "snapshots" and real.parent == root.parent.parent / "blobs"
    if not (real.is_relative_to(root) or in_hub_cache):
        raise CheckpointError(f"{path} leads outside the model folder: copy the file into it")
    if not real.is_file():
        raise CheckpointError(f"{path} is not a file: download the model again")
    return real


def _single_or_all(folder: Path) -> Iterable[str]:
    """The weight files of a folder without an index."""
    if (folder / "model.safetensors").is_file():
        return ("model.safetensors",)
    files = tuple(path.name for path in folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} holds no safetensors: convert the model, other weight formats are not read")
    return files


def _weight_map(folder: Path) -> dict[str, str] | None:
    """Tensor name -> weight file as the index says; None where transformers would not look at an index."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.exists():
        return None
    try:
        weight_map = json.loads(within(folder, index).read_text(encoding="utf-8"))["weight_map"]
        mapping = {str(name): str(shard) for name, shard in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is not a safetensors index: download it again") from None
    for name, shard in sorted(mapping.items()):
        if Path(shard).suffix != ".safetensors":
            raise CheckpointError(
                f"{index}: tensor '{name}' is in {shard}, which is not safetensors: convert the model"
            )
    return mapping


def _read_header(path: Path, shard: str) -> dict[str, _Entry]:
    """The entries of one weight file, checked."""
    header = read_header(path)
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    start, entries = path.stat().st_size - end, {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(
                f"{path}: tensor {name} has dtype {entry['dtype']}, which is not read: use an unquantized checkpoint"
            )
        first, last = entry["data_offsets"]
        entries[name] = _Entry(shard, DTYPES[entry["dtype"]], tuple(entry["shape"]), start + first, last - first)
    return entries
