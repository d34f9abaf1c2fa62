"""From what a user writes (hub id, folder, nursery:NAME) to a checked model folder."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from darwin_mri.checkpoints.source import HUB_ID, NURSERY, ModelSource
from darwin_mri.checkpoints.verify import ADAPTER, CACHED, quantization_of, verify_folder
from darwin_mri.errors import CheckpointError
from darwin_mri.files import is_utf8
from darwin_mri.nursery import MODELS

HUB_FILES = ("*.json", "*.safetensors", "tokenizer*", "*.txt", "*.jinja", "*.model", "LICENSE*")
ADAPTER_FILES = ("*.json", "*.safetensors", "*.jinja", "LICENSE*")
GGUF = ".gguf"


def find_model(ref: str, *, offline: bool = False) -> ModelSource:
    """Find a model and check its folder; what is no plain folder is unpacked into one, once on this machine.

    Args:
        ref: ``nursery:NAME``, an existing folder, a hub id with an optional revision (``name@revision``), a GGUF file
            (``FILE.gguf``, or ``MODEL:FILE.gguf`` in a folder or on the hub), or any of these with ``+ADAPTER``, a PEFT
            folder or hub id, once or more.
        offline: use only what the hub's cache on this machine already holds.

    Returns:
        The source, its folder checked by ``verify_folder``.

    Raises:
        CheckpointError: no such model, a failed download, or a folder that is not a whole model.
    """
    model, *adapters = split_adapters(ref)
    source = _found(model, offline)
    for adapter in adapters:
        if not adapter:
            raise CheckpointError(f"{ref}: '+' without an adapter behind it: write MODEL+ADAPTER")
    if adapters:
        # Imported here, as below: plain folders need no torch to be found.
        from darwin_mri.checkpoints.unpacking.adapters import unpack_adapters

        source = unpack_adapters(source, [_adapter(adapter, offline) for adapter in adapters])
    verify_folder(source.folder)
    return source


def split_adapters(ref: str) -> list[str]:
    """The model and the adapters of ``MODEL+ADAPTER+...``; a path that exists keeps its plus signs."""
    pieces, parts = ref.split("+"), []
    while pieces:
        counts = range(len(pieces), 0, -1)
        taken = next((n for n in counts if _exists("+".join(pieces[:n]))), 1)
        parts.append("+".join(pieces[:taken]))
        pieces = pieces[taken:]
    return parts


def local_paths(ref: str) -> list[Path]:
    """The folders and GGUF files on this machine that a model and its adapters are read from."""
    paths = [Path(part).expanduser() for part in split_adapters(ref) if part and not part.startswith(NURSERY)]
    files = [Path(folder).expanduser() / file for folder, _, file in (str(path).rpartition(":") for path in paths)]
    return [path.resolve() for path in (*paths, *files) if path.exists()]


def _exists(path: str) -> bool:
    folder, _, file = path.rpartition(":")
    return bool(path) and (Path(path).expanduser().exists() or bool(folder) and (Path(folder) / file).is_file())


def _found(ref: str, offline: bool) -> ModelSource:
    """A model without adapters in a plain, checked folder."""
    if ref.lower().endswith(GGUF):
        from darwin_mri.checkpoints.unpacking.gguf_file import unpack_gguf

        return unpack_gguf(*_gguf(ref, offline))
    if ref.startswith(NURSERY):
        source = ModelSource(ref, _nursery_folder(ref.removeprefix(NURSERY)), None)
    elif Path(ref).expanduser().is_dir():
        source = _from_folder(ref)
        _refuse_other_kinds(source.folder)
    else:
        source = _from_hub(ref, offline, HUB_FILES)
    config = verify_folder(source.folder)
    if quantization_of(config):
        from darwin_mri.checkpoints.unpacking.quantised import unpack_quantised

        return unpack_quantised(source)
    return source


def _adapter(ref: str, offline: bool) -> ModelSource:
    return _from_folder(ref) if Path(ref).expanduser().is_dir() else _from_hub(ref, offline, ADAPTER_FILES)


def _gguf(ref: str, offline: bool) -> tuple[str, Path]:
    """(public name, path) of ``FILE.gguf`` or ``MODEL:FILE.gguf``."""
    path = Path(ref).expanduser()
    if path.is_file():
        return path.name, path.absolute()
    model, colon, file = ref.rpartition(":")
    if not colon:
        raise CheckpointError(f"{path.name}: no such file: give a GGUF file, or MODEL:FILE.gguf")
    if Path(model).expanduser().is_dir():
        source = _from_folder(model)
    else:
        stem = re.sub(r"-\d{5}-of-\d{5}\.gguf$", "", file)
        source = _from_hub(model, offline, (file, f"{glob.escape(stem)}-*-of-*.gguf"))
    path = source.folder / file
    if ".." in Path(file).parts or not path.is_file():
        raise CheckpointError(f"{source.ref} has no file {file}: give the name of a GGUF file in it")
    return f"{source.ref}:{file}", path


def _from_folder(ref: str) -> ModelSource:
    folder = Path(ref).expanduser().absolute()
    if not is_utf8(folder):
        raise CheckpointError(f"{ascii(str(folder))[1:-1]}: the folder's name is not UTF-8: rename it")
    name, revision = _public_name(folder.resolve())
    return ModelSource(name, folder, revision)


def _refuse_other_kinds(folder: Path) -> None:
    """Say of an adapter, or of a folder of GGUF files, how it is given."""
    if (folder / "config.json").is_file():
        return
    if (folder / ADAPTER).is_file():
        raise CheckpointError(f"{folder.name} is an adapter: give the model it was made for too, as MODEL+ADAPTER")
    if files := sorted(path.name for path in folder.glob(f"*{GGUF}")):
        raise CheckpointError(f"{folder.name} holds GGUF files: name one, as {folder.name}:{files[0]}")


def _public_name(folder: Path) -> tuple[str, str | None]:
    """The folder's last name, and its revision in the hub's cache.

    A run's child is named with its run (``david/child``), since every run has one; a snapshot in the hub's cache by its
    id.
    """
    parent = folder.parent
    if parent.name == "snapshots" and parent.parent.name.startswith(CACHED):
        return parent.parent.name.removeprefix(CACHED).replace("--", "/", 1), folder.name
    return f"{parent.name}/{folder.name}" if folder.name == "child" and parent.name else folder.name, None


def nursery_names() -> tuple[str, ...]:
    """Names of the parents that ship with the package, sorted."""
    return tuple(sorted(path.name for path in MODELS.glob("*") if (path / "config.json").is_file()))


def _nursery_folder(name: str) -> Path:
    if name not in nursery_names():
        known = ", ".join(nursery_names()) or "none is installed"
        raise CheckpointError(f"{NURSERY}{name}: no such model in the nursery (known: {known})")
    return MODELS / name


def _from_hub(ref: str, offline: bool, files: Sequence[str]) -> ModelSource:
    match = HUB_ID.fullmatch(ref)
    if match is None or ref.startswith("."):
        raise CheckpointError(
            f"{ref}: no such folder and no hub id: give a folder, owner/name@revision or nursery:NAME"
        )
    # Imported here so that folders and the nursery need no hub client.
    from huggingface_hub import constants, snapshot_download

    try:
        folder = snapshot_download(
            match["name"], revision=match["revision"], allow_patterns=list(files), local_files_only=offline
        )
    except Exception as error:  # the hub client raises a dozen unrelated classes; all of them mean "not fetched"
        if offline or constants.HF_HUB_OFFLINE:
            raise CheckpointError(
                f"{ref}: no such folder, and not in the hub's cache on this machine, which --offline or HF_HUB_OFFLINE"
                " keeps to: fetch it once without, or give a folder"
            ) from error
        reason = type(error).__name__  # the client's own text runs over many lines
        raise CheckpointError(
            f"{ref}: not found in any folder or on the hub ({reason}): check name and network"
        ) from error
    # A snapshot's folder is named by the commit it holds, which says more than a branch name.
    return ModelSource(match["name"], Path(folder), Path(folder).name)
