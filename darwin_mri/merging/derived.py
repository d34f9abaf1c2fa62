"""Plain model folders made from other models, kept in a cache on this machine under a digest of what they are made of.

Whatever scans, loads or merges then sees an ordinary folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from darwin_mri.checkpoints.atomic_folder import Purpose
from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.layout import read_layout
from darwin_mri.checkpoints.loading import refuse_partial
from darwin_mri.checkpoints.meta import make_config
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.verify import answers_digest, file_digests, read_json_object, verify_folder
from darwin_mri.checkpoints.writing import Content, Form, write_folder

NOTE = "darwin_parent.json"
FORMAT = 1  # raised whenever the same inputs give other bytes
PURPOSE = Purpose("a parent in another form", "set DARWIN_MRI_CACHE to a folder on another disk", NOTE)


@dataclass(frozen=True)
class Derivation:
    """What a folder is made of, and how.

    Attributes:
        kind: in one word.
        sources: the models it is made of, the one whose files it has first.
        recipe: all else that decides its bytes, as JSON.
        sentence: what is done, for people.
    """

    kind: str
    sources: tuple[ModelSource, ...]
    recipe: Mapping[str, Any]
    sentence: str

    def folder(self, root: Path | None) -> Path:
        """Where such a folder is kept; the cache of this machine where ``root`` is None."""
        parts = [FORMAT, self.kind, [answers_digest(file_digests(source.folder)) for source in self.sources]]
        digest = hashlib.sha256(json.dumps([*parts, self.recipe], sort_keys=True).encode()).hexdigest()
        return (root or cache_folder()) / self.kind / digest[:32]


def cache_folder() -> Path:
    """``$DARWIN_MRI_CACHE``, else ``darwin_mri`` in the user's cache."""
    if given := os.environ.get("DARWIN_MRI_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darwin_mri"


def derive(
    derivation: Derivation,
    tensors: Mapping[str, Form],
    compute: Callable[[str], Tensor],
    files: Mapping[str, Content],
    config: Mapping[str, Any],
    root: Path | None = None,
) -> ModelSource:
    """Write a folder, or find it where it was written before.

    Args:
        derivation: what it is made of.
        tensors: name -> (dtype, shape).
        compute: name -> the tensor.
        files: name -> small file, without config.json.
        config: what config.json holds.
        root: where such folders are kept; the cache of this machine when None.

    Returns:
        The model, under the first source's public name.

    Raises:
        CheckpointError: transformers would not load such a folder whole; nothing is written.
        DarwinError: the disk is too small.
    """
    first = derivation.sources[0]
    out = derivation.folder(root)
    if not (out / NOTE).is_file():
        _refuse_partial(config, tensors, first.ref)
        dtype = read_json_object(first.folder, NOTE).get("child_dtype") if (first.folder / NOTE).is_file() else None
        note = {"source": first.ref, "kind": derivation.kind, "sentence": derivation.sentence, "child_dtype": dtype}
        contents = {**files, "config.json": PreTrainedConfig._encode_special_floats(dict(config))}
        write_folder(out, tensors, compute, contents, note=note, purpose=PURPOSE)
    verify_folder(out)
    return replace(first, folder=out)


def _refuse_partial(config: Mapping[str, Any], tensors: Mapping[str, Form], ref: str) -> None:
    shapes = {name: shape for name, (_, shape) in tensors.items()}
    layout = read_layout(make_config(config, ref), shapes, lambda *_: True, ref)
    refuse_partial(ref, layout.missing, layout.reshaped)


def stored_forms(reader: CheckpointReader, names: Iterable[str] | None = None) -> dict[str, Form]:
    """(dtype, shape) of a folder's tensors by name, in the order in which they lie in its files."""
    asked = reader.names() if names is None else names
    return {name: (reader.dtype(name), reader.shape(name)) for name in sorted(asked, key=reader.location)}
