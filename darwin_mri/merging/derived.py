"""Plain model folders made from other models: kept in the cache of unpacked parents, so that all else sees a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.layout import read_layout
from darwin_mri.checkpoints.loading import refuse_partial
from darwin_mri.checkpoints.meta import make_config
from darwin_mri.checkpoints.origin import read_ancestry, stated_license
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.source import ParentNote, read_parent_note
from darwin_mri.checkpoints.unpacking.cache import Unpacked, as_key, unpack_once
from darwin_mri.checkpoints.verify import file_digests, verify_folder
from darwin_mri.checkpoints.writing import NAMES, Content, Form


@dataclass(frozen=True)
class Derivation:
    """What a folder is made of, and how.

    Attributes:
        kind: ``vocabulary`` or ``stack``.
        sources: the models it is made of, the one whose files it has first.
        recipe: all else that decides its bytes, as plain values.
        sentence: what is done, for people.
    """

    kind: str
    sources: tuple[ModelSource, ...]
    recipe: Mapping[str, Any]
    sentence: str

    @property
    def key(self) -> dict[str, Any]:
        """All that the folder is made from."""
        files = [as_key(file_digests(source.folder)) for source in self.sources]
        return {"kind": self.kind, "files": files, "recipe": self.recipe}


@dataclass(frozen=True)
class Contents:
    """What a folder holds.

    Attributes:
        tensors: name -> (dtype, shape).
        origins: name -> (model folder, tensor there) whose dtype it has in a child.
        compute: name -> the tensor.
        files: name -> small file, without config.json.
        config: what config.json holds.
    """

    tensors: Mapping[str, Form]
    origins: Mapping[str, tuple[Path, str]]
    compute: Callable[[str], Tensor]
    files: Mapping[str, Content]
    config: Mapping[str, Any]


def derive(derivation: Derivation, contents: Contents) -> ModelSource:
    """Write a folder, or find it where it was written before.

    Args:
        derivation: what it is made of.
        contents: what it holds.

    Returns:
        The model, under the first source's public name.

    Raises:
        CheckpointError: transformers would not load such a folder whole; nothing is written.
        DarwinError: the disk is too small, or the cache cannot be written to.
    """
    first = derivation.sources[0]

    def unpack() -> Unpacked:
        _refuse_partial(contents, first.ref)
        config = PreTrainedConfig._encode_special_floats(dict(contents.config))
        files = {**contents.files, "config.json": config}
        return Unpacked(contents.tensors, contents.compute, files, _note(derivation, contents))

    folder = unpack_once(first.ref, derivation.key, unpack)
    verify_folder(folder)
    return replace(first, folder=folder)


def stored_forms(reader: CheckpointReader, names: Iterable[str] | None = None) -> dict[str, Form]:
    """(dtype, shape) of a folder's tensors by name, in the order in which they lie in its files."""
    asked = reader.names() if names is None else names
    return {name: (reader.dtype(name), reader.shape(name)) for name in sorted(asked, key=reader.location)}


def _refuse_partial(contents: Contents, ref: str) -> None:
    shapes = {name: shape for name, (_, shape) in contents.tensors.items()}
    layout = read_layout(make_config(contents.config, ref), shapes, lambda *_: True, ref)
    refuse_partial(ref, layout.missing, layout.reshaped)


def _note(derivation: Derivation, contents: Contents) -> ParentNote:
    """A child's tensors get the dtypes that they would have had of the models they come from."""
    notes = {folder: read_parent_note(folder) for folder, _ in contents.origins.values()}
    dtypes = {}
    for name, (dtype, _) in contents.tensors.items():
        folder, origin = contents.origins[name]
        note = notes[folder]
        dtypes[name] = note.in_child(origin, NAMES[dtype]) if note else NAMES[dtype]
    most = Counter(dtypes.values()).most_common(1)[0][0]
    first = derivation.sources[0]
    return ParentNote(
        first.ref,
        derivation.kind,
        derivation.sentence,
        most,
        {name: dtype for name, dtype in dtypes.items() if dtype != most},
        stated_license(first.folder),
        read_ancestry(first.folder),
    )
