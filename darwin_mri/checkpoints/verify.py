"""Is this folder a whole, safe model? Reads JSON and safetensors headers only; nothing is unpickled or executed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from darwin_mri.errors import CheckpointError
from darwin_mri.files import is_utf8
from darwin_mri.records import FileDigest

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTER = "adapter_config.json"
UNQUANTIZED = frozenset({"F64", "F32", "F16", "BF16", "BOOL", "I64"})
CACHED = "models--"  # how the hub's cache begins a model's folder: models--owner--name/snapshots/REVISION
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
ANSWERING = (".safetensors", ".json", ".jinja", ".model", ".txt", ".tiktoken")  # what a loader may read
BESIDE = (INDEX, "darwin_mri.json", "darwin_parent.json")  # layout and genealogy, which answer nothing
NOT_READ = ("config.json", "generation_config.json", "nursery.json")  # by a tokenizer, but for the family's name
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
SETTLED = 2_000_000_000  # nanoseconds after which a file's time tells two contents apart
DTYPE_BITS = {
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check that a folder holds a model that can be loaded whole, without loading it.

    Args:
        folder: the model folder.

    Returns:
        The parsed ``config.json``.

    Raises:
        CheckpointError: no model folder, unreadable configuration, missing or damaged weights, a link that leaves the
            folder, or a model type that the installed transformers does not know.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder.name}: no such folder: give a model folder, a hub id or nursery:NAME")
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder.name} is not a model folder: it has no config.json")
    _refuse_odd_files(folder)
    config = _read_config(folder)
    dtypes: set[str] = set()
    for name, tensors in _promised_weights(folder).items():
        header = read_header(folder / name)
        dtypes |= {entry["dtype"] for entry in header.values()}
        absent = sorted(tensors - header.keys())
        if absent:
            raise CheckpointError(
                f"{folder.name}/{INDEX} says that {name} holds {absent[0]}, which it does not: fetch the model again"
            )
    _refuse_leftovers(folder, config, dtypes)
    return config


def _refuse_leftovers(folder: Path, config: dict[str, Any], dtypes: set[str]) -> None:
    """Refuse what makes one folder two models: some loaders would use it, others not."""
    if (folder / ADAPTER).is_file():
        raise CheckpointError(
            f"{folder.name} holds whole weights and an adapter ({ADAPTER}), and loaders differ on which model that is:"
            " move the adapter's files away, or merge it into the weights first"
        )
    if config.get("transformers_weights"):
        raise CheckpointError(
            f"{folder.name}/config.json names its weights in transformers_weights ({config['transformers_weights']}),"
            f" where only {SINGLE} and {INDEX} are read: take it out of config.json"
        )
    quantization = quantization_of(config)
    if quantization and dtypes <= UNQUANTIZED:
        raise CheckpointError(
            f"{folder.name}/config.json has a quantization_config ({quantization.get('quant_method')}), but no weight"
            " is quantized: take it out of config.json"
        )


def quantization_of(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The quantization_config of a config.json or of its text part; None where there is none."""
    for part in (config, config.get("text_config")):
        quantization = part.get("quantization_config") if isinstance(part, Mapping) else None
        if quantization:
            return quantization if isinstance(quantization, dict) else {"quant_method": str(quantization)}
    return None


def weight_files(folder: Path) -> tuple[str, ...]:
    """Names of the weight files transformers would load, relative to the folder, in order."""
    return tuple(_promised_weights(folder))


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """Read and check the header of one safetensors file: 8 bytes of length (little endian), then JSON, then the data.

    Args:
        path: the file.

    Returns:
        Per tensor name ``dtype`` (str), ``shape`` (list of int) and ``data_offsets`` (bytes after the header), without
        ``__metadata__``.

    Raises:
        CheckpointError: the file is cut short or its header is damaged, with the tensor where one is at fault.
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise CheckpointError(f"{shown} is cut short or damaged: its header cannot fit. Fetch the file again")
            header = json.loads(stream.read(length))
    except OSError as error:
        raise CheckpointError(f"{shown} cannot be read ({error.strerror}): check its permissions") from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{shown} is damaged: its header is no JSON. Fetch the file again") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{shown} is damaged: its header is no JSON object. Fetch the file again")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise CheckpointError(f"{shown} is damaged: its __metadata__ is no map of texts. Fetch the file again")
    end = 0
    for name, entry in sorted(header.items(), key=_offsets_or_zero):
        fault = _entry_fault(entry, end)
        if fault:
            raise CheckpointError(f"{shown} is damaged: tensor {name} {fault}. Fetch the file again")
        end = entry["data_offsets"][1]
    if 8 + length + end != size:
        promised = 8 + length + end
        word = "is cut short" if promised > size else "has stray bytes at its end"
        raise CheckpointError(f"{shown} {word}: {size} bytes where its header promises {promised}. Fetch it again")
    return header


def file_digests(folder: Path) -> tuple[FileDigest, ...]:
    """Size and sha256 of every file that belongs to the model, sorted by name.

    README, hidden files, code and pickles are left out: they are neither read nor copied to a child.

    Args:
        folder: the model folder.
    """
    names = set(weight_files(folder))
    for path in folder.iterdir():
        hidden = path.name.startswith(".") or path.name.upper().startswith("README")
        if path.is_file() and not hidden and path.suffix not in (*PICKLES, ".py"):
            names.add(path.name)
    return digests_of(folder, names)


def digests_of(folder: Path, names: Iterable[str]) -> tuple[FileDigest, ...]:
    """Size and sha256 of files named relative to a folder, sorted by name."""
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return tuple(pool.map(lambda name: _digest(folder, name), sorted(names)))


def _digest(folder: Path, name: str) -> FileDigest:
    path = (folder / name).resolve()
    known = path.stat()
    # The time of the last change of any kind: that of the content can be set by whoever copies a file.
    settled = time.time_ns() - known.st_ctime_ns > SETTLED  # else it could be written again under the same time
    read = _cached_sha256 if settled else _sha256
    sha256 = read(path, known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino)
    return FileDigest(name=name, size=known.st_size, sha256=sha256)


def _sha256(path: Path, size: int, modified: int, changed: int, inode: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_cached_sha256 = cache(_sha256)  # a run asks for the same gigabytes several times


def weights_digest(files: tuple[FileDigest, ...]) -> str:
    """One sha256 for a model's weights: over the sha256 of its safetensors files in order of name."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda digest: digest.name):
        if file.name.endswith(".safetensors"):
            total.update(bytes.fromhex(file.sha256))
    return total.hexdigest()


def answers_digest(files: tuple[FileDigest, ...]) -> str:
    """One sha256 for all that decides what a model answers: weights, configuration, tokenizer and chat template."""
    own = {file.name: file.sha256 for file in files if Path(file.name).suffix in ANSWERING and file.name not in BESIDE}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def tokenizer_digest(folder: Path) -> str:
    """One sha256 for all files that a folder's tokenizer may be read from; two of one digest split texts alike."""
    weights = (".safetensors", *PICKLES)
    names = [path.name for path in folder.iterdir() if path.suffix in ANSWERING and path.suffix not in weights]
    return answers_digest(digests_of(folder, (name for name in names if name not in NOT_READ)))


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_json_object(folder, "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise CheckpointError(f"{folder.name}/config.json has no model_type: it is not a transformers model")
    # Imported here, so that a folder without a model is refused first. This table of names loads no torch.
    from transformers import __version__
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    if kind not in CONFIG_MAPPING_NAMES:
        why = "its own code is never run" if "auto_map" in config else "a newer transformers may"
        raise CheckpointError(
            f"{folder.name}/config.json: transformers {__version__} does not know model_type {kind!r} ({why})"
        )
    return config


def read_json_object(folder: Path, name: str) -> dict[str, Any]:
    """A folder's JSON file that holds an object; raises CheckpointError otherwise."""
    try:
        data = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise CheckpointError(f"{folder.name}/{name} cannot be read as JSON: fetch the model again") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{folder.name}/{name} is no JSON object: fetch the model again")
    return data


def _promised_weights(folder: Path) -> dict[str, set[str]]:
    """Weight file, as transformers chooses them -> tensor names the index promises there (none for a single file)."""
    if (folder / SINGLE).is_file():
        return {SINGLE: set()}
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder.name} {_why_no_weights(folder)}")
    weight_map = read_json_object(folder, INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{folder.name}/{INDEX} has no weight_map: fetch the model again")
    shards: dict[str, set[str]] = {}
    for tensor, shard in sorted(weight_map.items(), key=lambda pair: (str(pair[1]), pair[0])):
        _check_shard_name(folder, shard)
        shards.setdefault(shard, set()).add(tensor)
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder.name}/{INDEX} names {missing[0]}, which is not there ({len(missing)} of {len(shards)} missing):"
            " fetch the model again"
        )
    return shards


def _check_shard_name(folder: Path, shard: Any) -> None:
    leaves = not isinstance(shard, str) or PurePosixPath(shard).is_absolute() or ".." in PurePosixPath(shard).parts
    if leaves or "\\" in shard or "\0" in shard:
        raise CheckpointError(f"{folder.name}/{INDEX} names {shard!r}, a path outside the folder: refused")
    if not shard.endswith(".safetensors"):
        raise CheckpointError(f"{folder.name}/{INDEX} names {shard!r}: only .safetensors weights are read")


def _why_no_weights(folder: Path) -> str:
    suffixes = {path.suffix for path in folder.iterdir()}
    if ".safetensors" in suffixes:
        return f"has .safetensors files but neither {SINGLE} nor {INDEX}: fetch the model again"
    if suffixes.intersection(PICKLES):
        return "has only pickled weights, which are not read: convert it to safetensors"
    return "has a config.json but no .safetensors weights: fetch the model again"


def _refuse_odd_files(folder: Path) -> None:
    """Refuse links that leave the folder, pipes and devices, which may never end, and names that no record can hold."""
    real = folder.resolve()
    roots = [real]
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith(CACHED):
        # The hub's cache keeps each snapshot as links to the blobs of the same model.
        roots.append((real.parent.parent / "blobs").resolve())
    for path in sorted(folder.rglob("*")):
        where = ascii(path.relative_to(folder).as_posix())[1:-1]
        if not is_utf8(path.relative_to(folder)):
            raise CheckpointError(f"{folder.name}/{where}: the file's name is not UTF-8: rename it")
        if path.is_symlink():
            target = Path(os.path.realpath(path))  # unlike Path.resolve it takes links in a circle
            if not any(target.is_relative_to(root) for root in roots):
                raise CheckpointError(
                    f"{folder.name}/{where} is a link that leaves the folder: refused. Copy the file in"
                )
        elif not path.is_file() and not path.is_dir():
            raise CheckpointError(f"{folder.name}/{where} is neither a file nor a folder: move it away")


def _offsets_or_zero(item: tuple[str, Any]) -> tuple[int, int]:
    """Sort key: where a tensor lies; malformed entries come first, so that they are reported."""
    entry = item[1]
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return (offsets[0], offsets[1]) if _is_counts(offsets) and len(offsets) == 2 else (-1, -1)


def _is_counts(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _entry_fault(entry: Any, previous_end: int) -> str | None:
    """What is wrong with one header entry, None where all is well."""
    if not isinstance(entry, dict) or not _is_counts(entry.get("shape")) or _offsets_or_zero(("", entry)) == (-1, -1):
        return "has no proper shape or offsets"
    bits = DTYPE_BITS.get(str(entry.get("dtype")))
    if bits is None:
        return f"has the unknown dtype {str(entry.get('dtype'))!r}"
    start, end = entry["data_offsets"]
    if end < start or (end - start) * 8 != math.prod(entry["shape"]) * bits:
        return f"takes {end - start} bytes, which is not its shape times its dtype"
    if start != previous_end:
        return "overlaps another tensor" if start < previous_end else "leaves a hole before it"
    return None
