"""A child that keeps the father's tensors by name and shape, with another dtype, configuration or chat template."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints.atomic_folder import refuse_occupied
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.source import read_parent_note
from darwin_mri.checkpoints.survey import Survey
from darwin_mri.checkpoints.verify import INDEX, read_json_object
from darwin_mri.checkpoints.writing import CONFIG, Content, other_files, write_folder
from darwin_mri.errors import InputError
from darwin_mri.merging.chat_files import TEMPLATE_FILES
from darwin_mri.records import ChildFiles

TOKENIZER = "tokenizer_config.json"
DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
FLOATING = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


@dataclass(frozen=True)
class ChildForm:
    """How a child is written where it is not just the father's folder.

    Attributes:
        dtypes: tensor on the father's disk -> dtype in the child.
        files: name -> small file, config.json among them.
    """

    dtypes: Mapping[str, torch.dtype]
    files: Mapping[str, Content]


def child_form(
    father: Survey, files_of: Survey, dtype: str | None, chat_template: str | None = None
) -> ChildForm | None:
    """The form of a child; None where it is the father's folder with other values.

    Args:
        father: whose tensors the child has.
        files_of: the sibling whose configuration, tokenizer and other small files it has.
        dtype: of its floating tensors, as configurations name it; the father's own when None, or those that an
            unpacked father's note states.
        chat_template: its text; that of ``files_of`` when None.

    Returns:
        The form.
    """
    dtypes = {name: _dtype(father, name, dtype) for name in father.tensors}
    same_dtypes = all(dtypes[name] is None for name in dtypes)
    if same_dtypes and chat_template is None and same_files(father, files_of):
        return None
    files: dict[str, Content] = {
        name: files_of.folder / name for name in other_files(files_of.folder, files_of.shards) if name != INDEX
    }
    if not any(name.startswith("tokenizer") for name in files):  # a base without a tokenizer has none to give
        files = {name: father.folder / name for name in other_files(father.folder, father.shards) if name != INDEX}
    chosen = dtype or _stated_dtype(father, dtypes)
    files[CONFIG] = _config(files_of, chosen)
    if chat_template is not None:
        files = _with_template(files, files_of.folder, chat_template)
    with CheckpointReader(father.folder) as reader:
        return ChildForm({name: own or reader.dtype(name) for name, own in dtypes.items()}, files)


def same_form(father: Survey) -> ChildForm:
    """The form of a child that is the father's folder."""
    names = (name for name in other_files(father.folder, father.shards) if name != INDEX)
    with CheckpointReader(father.folder) as reader:
        return ChildForm(
            {name: reader.dtype(name) for name in father.tensors}, {name: father.folder / name for name in names}
        )


def write_formed(
    father: Path,
    out: Path,
    changed: Sequence[str],
    compute: Callable[[str, torch.dtype], torch.Tensor],
    form: ChildForm,
    *,
    note: Mapping[str, Any],
    on_tensor: Callable[[str], None] | None = None,
) -> ChildFiles:
    """Write a child in a form of its own, tensor by tensor.

    Args:
        father: the father's model folder.
        out: as ``write_child``.
        changed: names of the tensors to compute; the others are the father's, cast.
        compute: (name, dtype) -> the tensor in that dtype, rounded once.
        form: dtypes and small files.
        note: as ``write_child``.
        on_tensor: called with the name of each computed tensor once it is written.

    Returns:
        The sha256 of each shard, and the tensors whose bytes differ from the father's.

    Raises:
        InputError: ``out`` is in use, or a tensor is not finite in its dtype.
        DarwinError: the disk is too small.
    """
    father = father.resolve()
    refuse_occupied(father, out)
    moved, differing = frozenset(changed), list[str]()
    with CheckpointReader(father) as reader:
        forms = {name: (form.dtypes[name], reader.shape(name)) for name in reader.names()}

        def tensor(name: str) -> torch.Tensor:
            own = reader.tensor(name)
            value = compute(name, form.dtypes[name]) if name in moved else own.to(form.dtypes[name])
            if value.dtype != own.dtype or not torch.equal(value.cpu(), own):
                insort(differing, name)
            return value

        def written(name: str) -> None:
            if on_tensor is not None and name in moved:
                on_tensor(name)

        digests = write_folder(out, forms, tensor, form.files, note={**note, "changed": differing}, on_tensor=written)
    return ChildFiles(
        shards=digests,
        changed=tuple(differing),
        tensors=len(forms),
        genealogy=tuple(note.get("genealogy", ())),
    )


def _dtype(father: Survey, name: str, dtype: str | None) -> torch.dtype | None:
    """A tensor's dtype in the child; None where it is the father's."""
    stored = father.tensors[name].dtype
    if stored not in FLOATING:
        return None
    if dtype is not None:
        wanted = DTYPES[dtype]
    else:
        note = read_parent_note(father.folder)
        wanted = note.in_child(name, stored) if note and note.child_dtype else stored
    return None if wanted == stored else FLOATING[wanted]


def _stated_dtype(father: Survey, dtypes: Mapping[str, torch.dtype | None]) -> str | None:
    """What a configuration has to say, where the child's main dtype is not the father's."""
    largest = max(father.tensors, key=lambda name: father.tensors[name].size)
    own = dtypes[largest]
    return None if own is None else str(own).removeprefix("torch.")


def same_files(father: Survey, other: Survey) -> bool:
    """Whether two models have the same small files, byte for byte."""
    if father.folder == other.folder:
        return True
    own, theirs = ({*other_files(one.folder, one.shards)} - {INDEX} for one in (father, other))
    return own == theirs and all(
        (father.folder / name).read_bytes() == (other.folder / name).read_bytes() for name in own
    )


def _config(model: Survey, dtype: str | None) -> dict[str, Any]:
    """config.json with the child's dtype, in its parts too."""
    config = dict(model.config)
    if dtype is None:
        return config
    for key, part in config.items():
        if isinstance(part, dict) and {"dtype", "torch_dtype"} & set(part):
            config[key] = {**part, **_stated(part, dtype)}
    return {**config, **(_stated(config, dtype) or {"dtype": dtype})}


def _stated(part: Mapping[str, Any], dtype: str) -> dict[str, str]:
    return {key: dtype for key in ("dtype", "torch_dtype") if key in part}


def _with_template(files: Mapping[str, Content], folder: Path, template: str) -> dict[str, Content]:
    """Small files with one chat template, where every loader looks for it."""
    if not (folder / TOKENIZER).is_file():
        raise InputError(f"a chat template needs a tokenizer, and {folder.name} has no {TOKENIZER}: leave it out")
    kept = {name: content for name, content in files.items() if name not in TEMPLATE_FILES}
    kept = {name: content for name, content in kept.items() if not name.startswith("additional_chat_templates/")}
    config = read_json_object(folder, TOKENIZER)
    config.pop("chat_template", None)
    return {**kept, TOKENIZER: config, TEMPLATE_FILES[0]: template}
