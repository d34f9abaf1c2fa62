"""Model folders as sources of a merge, under the names that the father's tensors have in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable

from darwin_mri.checkpoints import CheckpointReader, ModelSource
from darwin_mri.checkpoints.child_reader import ChildReader
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.errors import InputError
from darwin_mri.merging.compatibility import counterparts, require_siblings
from darwin_mri.merging.sources import FolderSource


def father_source(father: Survey, on_disk: Iterable[str] = ()) -> FolderSource:
    """The father's folder.

    Args:
        father: its survey.
        on_disk: names of tensors on its disk that are asked for by these; the text model's parameters, by their names
            in memory, when empty.

    Returns:
        The source.
    """
    layout = father.layout
    names = {name: name for name in on_disk} or {name: layout.on_disk(name) for name in layout.text}
    rounded = ChildReader(father.folder).rounded
    linear = {layout.on_disk(name): transposed for name, transposed in layout.linear.items() if name in layout.stored}
    return FolderSource(CheckpointReader(father.folder), names, layout.copies, layout.assemblies, rounded, linear)


def sibling_source(father: Survey, other: ModelSource, own: FolderSource) -> FolderSource:
    """Another parent's folder, or the base's, by the names that the father's source uses.

    Args:
        father: the father's survey.
        other: the other model.
        own: the father's source.

    Returns:
        The source.

    Raises:
        InputError: the folder is no sibling of the father, or lacks a tensor that is asked for.
    """
    sibling = survey(other.folder)
    require_siblings(father, sibling, other.ref)
    matches = counterparts(father, sibling)
    lacking = [disk for disk in own.disk_names.values() if disk not in matches]
    if lacking:
        raise InputError(f"{other.ref} lacks tensor {lacking[0]}, which the child would take from it")
    names = {name: matches[disk] for name, disk in own.disk_names.items()}
    return FolderSource(CheckpointReader(other.folder), names)
