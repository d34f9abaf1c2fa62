"""From what a user writes (hub id, folder, nursery:NAME) to a checked model folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.checkpoints.verify import CACHED, verify_folder
from darwin_mri.errors import CheckpointError
from darwin_mri.nursery import MODELS

NURSERY = "nursery:"
HUB_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
HUB_FILES = ("*.json", "*.safetensors", "tokenizer*", "*.txt", "*.jinja", "*.model", "LICENSE*")


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine.

    Attributes:
        ref: its name, which may be published: a hub id, ``nursery:NAME``, the folder's last name or, for a run's child,
            ``RUN/child``.
        folder: where its files are.
        revision: of the hub; None where there is none.
    """

    ref: str
    folder: Path
    revision: str | None


def find_model(ref: str, *, offline: bool = False) -> ModelSource:
    """Find a model and check its folder.

    Args:
        ref: ``nursery:NAME``, an existing folder, or a hub id with an optional revision (``name@revision``).
        offline: use only what the hub's cache on this machine already holds.

    Returns:
        The source, its folder checked by ``verify_folder``.

    Raises:
        CheckpointError: no such model, a failed download, or a folder that is not a whole model.
    """
    if ref.startswith(NURSERY):
        source = ModelSource(ref, _nursery_folder(ref.removeprefix(NURSERY)), None)
    elif Path(ref).expanduser().is_dir():
        folder = Path(ref).expanduser().absolute()
        # Bytes that are no UTF-8: safetensors opens no such file.
        if any("\udc80" <= letter <= "\udcff" for letter in str(folder)):
            raise CheckpointError(f"{ascii(str(folder))[1:-1]}: the folder's name is not UTF-8: rename it")
        name, revision = _public_name(folder.resolve())
        source = ModelSource(name, folder, revision)
    else:
        source = _from_hub(ref, offline)
    verify_folder(source.folder)
    return source


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


def _from_hub(ref: str, offline: bool) -> ModelSource:
    match = HUB_ID.fullmatch(ref)
    if match is None or ref.startswith("."):
        raise CheckpointError(
            f"{ref}: no such folder and no hub id: give a folder, owner/name@revision or nursery:NAME"
        )
    # Imported here so that folders and the nursery need no hub client.
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            match["name"], revision=match["revision"], allow_patterns=list(HUB_FILES), local_files_only=offline
        )
    except Exception as error:  # the hub client raises a dozen unrelated classes; all of them mean "not fetched"
        where = "the hub's cache on this machine (offline)" if offline else "any folder or on the hub"
        reason = type(error).__name__  # the client's own text runs over many lines
        raise CheckpointError(f"{ref}: not found in {where} ({reason}): check name and network") from error
    # A snapshot's folder is named by the commit it holds, which says more than a branch name.
    return ModelSource(match["name"], Path(folder), Path(folder).name)
