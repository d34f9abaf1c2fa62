"""Writing a new model folder tensor by tensor: sharded safetensors with small files beside, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darwin_mri.checkpoints.atomic_folder import CHILD, Purpose, copy_synced, move_into_place, partial_folder
from darwin_mri.checkpoints.hashed_file import HashedFile
from darwin_mri.checkpoints.reader import DTYPES
from darwin_mri.checkpoints.verify import INDEX, SINGLE
from darwin_mri.errors import InputError
from darwin_mri.files import writing
from darwin_mri.parallel import spread

Form = tuple[torch.dtype, tuple[int, ...]]
"""(dtype, shape) of a tensor."""
Content = Path | bytes | str | Mapping[str, Any]
"""A small file: one to copy, its bytes, its text, or what it holds as JSON."""
CONFIG = "config.json"
CHUNK = 2**23  # bytes handed on to be written and hashed at a time
PIECE = 2**16  # values compared at a time
SHARD = 5 * 10**9  # bytes of a weight file, as transformers splits them; a larger tensor has one of its own
NAMES = {dtype: name for name, dtype in DTYPES.items()}
# The bit pattern from which on a magnitude is not finite, and the integers that hold it.
INFINITY: dict[torch.dtype, tuple[type[np.unsignedinteger], int]] = {
    torch.bfloat16: (np.uint16, 0x7F80),
    torch.float16: (np.uint16, 0x7C00),
    torch.float32: (np.uint32, 0x7F800000),
    torch.float64: (np.uint64, 0x7FF0000000000000),
}
# What a model folder needs beside its weights. Code (*.py), pickles and the father's model card match none of these.
COPIED = (
    "config.json", "generation_config.json", "model.safetensors.index.json", "*processor_config.json",
    "tokenizer*.json", "tekken.json", "tokenizer.model*", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "vocab.txt", "merges.txt",
    "*.model", "*.tiktoken", "chat_template.json", "*.jinja", "additional_chat_templates/*.jinja",
    "LICENSE*", "LICENCE*", "license*", "NOTICE*", "COPYING*", "USE_POLICY*",
)  # fmt: skip
NEVER = (".py", ".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".so")


def write_folder(
    out: Path,
    tensors: Mapping[str, Form],
    compute: Callable[[str], torch.Tensor],
    files: Mapping[str, Content],
    *,
    note: Mapping[str, Any],
    purpose: Purpose = CHILD,
    on_tensor: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Write a new model folder: sharded safetensors, streamed, so that peak memory is about one tensor.

    Everything is written to a hidden sibling of ``out`` and renamed at the end, so an error, an interrupt or a full
    disk leaves ``out`` as it was. What is there is replaced: whoever calls has refused what must not be.

    Args:
        out: the new folder.
        tensors: name -> (dtype, shape). Each weight file takes the next of them up to ``SHARD`` bytes, and holds those
            of wider dtypes first, as the format aligns them.
        compute: name -> the tensor, of that dtype and shape; called once per name, in file order.
        files: name relative to the folder -> a small file; ``config.json`` comes late, so that no loader takes an
            unfinished folder for a model. An index of weight files is written where there are several.
        note: what the file named by ``purpose`` says of the folder, with ``schema`` and the shards' digests added;
            written last.
        purpose: what the folder is called in errors, and what its note is called.
        on_tensor: called with each name once its bytes are handed on.

    Returns:
        Weight file -> its sha256.

    Raises:
        InputError: a computed tensor has another shape or dtype or is not finite, or a note is no JSON.
        DarwinError: the disk is too small; says how many bytes are missing.
    """
    out = Path(os.path.abspath(out))
    contents = {name: content if isinstance(content, Path) else as_bytes(content) for name, content in files.items()}
    as_bytes(note)  # one that cannot be written is refused before hours of work, not after
    shards = plan_shards(tensors)
    if len(shards) > 1:
        contents[INDEX] = as_bytes(_index(shards, tensors))
    sizes = (len(content) if isinstance(content, bytes) else content.stat().st_size for content in contents.values())
    with partial_folder(out, sum(_size(form) for form in tensors.values()) + sum(sizes), purpose) as partial:
        opened: dict[str, HashedFile] = {}
        with ExitStack() as stack:  # all shards are closed in the end: one is flushed while the next is written
            for shard, names in shards.items():
                new = opened[shard] = stack.enter_context(HashedFile(partial / shard))
                new.write(_header({name: tensors[name] for name in names}))
                for name in names:
                    write_bytes(new, bytes_of(name, compute(name), tensors[name], purpose.what))
                    if on_tensor is not None:
                        on_tensor(name)
                new.finish()
        digests = {shard: file.sha256 for shard, file in opened.items()}
        write_files(partial, contents)
        write_synced(partial / purpose.note, as_bytes({"schema": 1, **note, "shards": digests}))
        move_into_place(partial, out)
    return digests


def write_tensors(
    path: Path,
    tensors: Mapping[str, Form],
    compute: Callable[[str], torch.Tensor],
    metadata: Mapping[str, str],
    owner: str,
) -> str:
    """Write one safetensors file tensor by tensor, under a temporary name that is renamed at the end.

    Args:
        path: the file.
        tensors: name -> (dtype, shape), of one dtype.
        compute: name -> the tensor; called once per name, in order.
        metadata: of the file's header.
        owner: what an error calls the tensors' owner.

    Returns:
        The file's sha256.

    Raises:
        InputError: a computed tensor does not fit its place, or is not finite.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with HashedFile(temporary) as file:
                file.write(_header(tensors, metadata))
                for name, form in tensors.items():
                    write_bytes(file, bytes_of(name, compute(name), form, owner))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return file.sha256


def plan_shards(tensors: Mapping[str, Form]) -> dict[str, tuple[str, ...]]:
    """Weight file -> names of its tensors in file order.

    ``model.safetensors`` alone where all fit into ``SHARD`` bytes, else ``model-00001-of-0000N.safetensors``.
    """
    groups: list[list[str]] = [[]]
    filled = 0
    for name, form in tensors.items():
        if groups[-1] and filled + _size(form) > SHARD:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += _size(form)
    ordered = [tuple(sorted(group, key=lambda name: -tensors[name][0].itemsize)) for group in groups]
    if len(ordered) == 1:
        return {SINGLE: ordered[0]}
    return {f"model-{at:05}-of-{len(ordered):05}.safetensors": group for at, group in enumerate(ordered, start=1)}


def bytes_of(name: str, tensor: torch.Tensor, form: Form, owner: str = CHILD.what) -> np.ndarray:
    """A tensor's bytes as they go to disk.

    Args:
        name: the tensor's.
        tensor: its values, on any device.
        form: the dtype and shape that its place has.
        owner: what an error calls the model.

    Returns:
        Flat uint8.

    Raises:
        InputError: it does not fit its place, or is not finite.
    """
    dtype, shape = form
    if tuple(tensor.shape) != tuple(shape) or tensor.dtype != dtype:
        raise InputError(
            f"tensor '{name}' came as {tuple(tensor.shape)} {tensor.dtype} where the folder has {tuple(shape)} {dtype}:"
            " bring it into that shape and dtype"
        )
    flat = tensor.detach().to("cpu").contiguous().reshape(-1)
    if not all_finite(flat):
        raise InputError(f"tensor '{name}' of {owner} has NaN or infinite values: lower its ratio, check the parents")
    return flat.view(torch.uint8).numpy()


def all_finite(flat: torch.Tensor) -> bool:
    """Whether every value is finite, which means no exponent of all ones.

    Compared as integers, several times faster than as floats, by pieces that stay in a core's cache.
    """
    if not flat.is_floating_point():
        return True
    if flat.dtype not in INFINITY:
        return bool(flat.float().isfinite().all())
    whole, infinity = INFINITY[flat.dtype]
    bits = flat.view(torch.uint8).numpy().view(whole)
    magnitude = whole(2 ** (8 * bits.itemsize - 1) - 1)

    def finite(first: int) -> bool:
        pieces = (
            bits[start : start + PIECE] & magnitude for start in range(first, min(first + CHUNK, bits.size), PIECE)
        )
        return all(int(piece.max()) < infinity for piece in pieces)

    return all(spread(finite, range(0, bits.size, CHUNK)))


def other_files(folder: Path, shards: Sequence[str]) -> list[str]:
    """What a model made from a folder takes over beside the weights, byte for byte.

    Args:
        folder: a model folder.
        shards: its weight files.

    Returns:
        Names relative to the folder, sorted.
    """
    paths = {path for pattern in COPIED for path in folder.glob(pattern) if path.is_file() or path.is_symlink()}
    names = {path.relative_to(folder).as_posix() for path in paths}
    if SINGLE in shards:  # the whole model in one file: an index beside it is stale
        names.discard(INDEX)
    return sorted(name for name in names if not name.lower().endswith(NEVER))


def write_files(folder: Path, contents: Mapping[str, Path | bytes]) -> None:
    """Write small files and flush them to disk, the configuration last: without it no folder is taken for a model."""
    for name, content in sorted(contents.items(), key=lambda item: item[0] == CONFIG):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            copy_synced(content, folder / name)
        else:
            write_synced(folder / name, content)


def write_bytes(file: HashedFile, content: np.ndarray) -> None:
    """Hand flat bytes on to be written and hashed, a chunk at a time."""
    for start in range(0, len(content), CHUNK):
        file.write(content[start : start + CHUNK].data)


def write_synced(path: Path, content: bytes) -> None:
    """Write a small file and flush it to disk."""
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def as_bytes(content: bytes | str | Mapping[str, Any]) -> bytes:
    """A small file's bytes; a mapping becomes JSON. Raises InputError where that cannot be."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    try:
        return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"the model's note cannot be written as JSON ({error}): give plain values") from None


def _size(form: Form) -> int:
    return prod(form[1]) * form[0].itemsize


def _header(tensors: Mapping[str, Form], metadata: Mapping[str, str] | None = None) -> bytes:
    """The beginning of a weight file: the length of a JSON header, and the header, which tells where tensors lie."""
    described = {"__metadata__": {"format": "pt", **(metadata or {})}, **dict(_entries(tensors))}
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _entries(tensors: Mapping[str, Form]) -> Iterator[tuple[str, dict[str, Any]]]:
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + _size((dtype, shape))
        yield name, {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}


def _index(shards: Mapping[str, Sequence[str]], tensors: Mapping[str, Form]) -> dict[str, Any]:
    weight_map = {name: shard for shard, names in shards.items() for name in names}
    total = sum(_size(form) for form in tensors.values())
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
