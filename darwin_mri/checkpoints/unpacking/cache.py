"""Where unpacked folders are kept on this machine, named by a digest of what they were made from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints.atomic_folder import Purpose
from darwin_mri.checkpoints.source import PARENT_NOTE, ParentNote
from darwin_mri.checkpoints.writing import Content, Form, write_folder
from darwin_mri.errors import InputError
from darwin_mri.records import FileDigest

LOG = logging.getLogger("darwin_mri")  # on stderr, unless a command is quiet
FORMAT = 1  # changes whenever the same origin gives another folder
LENGTH = 16  # hexadecimal digits of a folder's name: 64 bits


@dataclass(frozen=True)
class Unpacked:
    """A plain model folder to be written.

    Attributes:
        tensors: name on disk -> (dtype, shape).
        compute: name -> the tensor.
        files: name -> a small file beside the weights.
        note: what is said of the folder.
    """

    tensors: Mapping[str, Form]
    compute: Callable[[str], torch.Tensor]
    files: Mapping[str, Content]
    note: ParentNote


def cache_root() -> Path:
    """``$DARWIN_MRI_CACHE``, else ``darwin_mri`` in the user's cache (``$XDG_CACHE_HOME``, ``~/.cache``)."""
    chosen = os.environ.get("DARWIN_MRI_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "darwin_mri"


def unpack_once(name: str, key: Mapping[str, Any], unpack: Callable[[], Unpacked]) -> Path:
    """The folder that something is unpacked into; written where it is not there yet.

    Args:
        name: the public name of what is unpacked, which the folder's begins with.
        key: all that the folder is made from, as plain values.
        unpack: says what to write; called only where it has to be.

    Returns:
        The folder.

    Raises:
        InputError: the cache cannot be written to.
        DarwinError: the disk has no room; what ``unpack`` raises. Nothing is left behind.
    """
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **key}, sort_keys=True).encode()).hexdigest()[:LENGTH]
    plain = re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("-.")[-80:]
    out = cache_root() / f"{plain}-{digest}"
    if (out / PARENT_NOTE).is_file():
        return out
    with _one_at_a_time(out):
        if (out / PARENT_NOTE).is_file():
            return out
        unpacked = unpack()
        LOG.warning("unpacking, once: %s", unpacked.note.sentence)
        purpose = Purpose(f"the unpacked {name}", "set DARWIN_MRI_CACHE to another folder", PARENT_NOTE)
        write_folder(
            out, unpacked.tensors, unpacked.compute, unpacked.files, note=unpacked.note.to_json(), purpose=purpose
        )
    return out


def as_key(files: Iterable[FileDigest]) -> dict[str, str]:
    """Files by their content, as part of a key; what says nothing of the model is left out."""
    return {file.name: file.sha256 for file in files}


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Let a second process wait for the first, and find its folder."""
    lock = out.parent / f".{out.name}.lock"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w", encoding="ascii")
    except OSError as error:
        raise InputError(
            f"the cache {out.parent} cannot be written to ({error.strerror}): set DARWIN_MRI_CACHE to another folder"
        ) from None
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
