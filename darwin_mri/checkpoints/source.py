"""A model on this machine, and what says that its folder was unpacked from something else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darwin_mri.files import read_text

NURSERY = "nursery:"
HUB_ID = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")
PARENT_NOTE = "darwin_parent.json"
FLOATING = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True)
class ModelSource:
    """A model on this machine.

    Attributes:
        ref: its name, which may be published: a hub id, ``nursery:NAME``, the folder's last name or, for a run's child,
            ``RUN/child``; with ``+ADAPTER`` for each adapter, or a GGUF file's name.
        folder: where its files are: of an adapter's model, a GGUF file or quantised weights those unpacked from it.
        revision: of the hub; None where there is none.
    """

    ref: str
    folder: Path
    revision: str | None


@dataclass(frozen=True)
class ParentNote:
    """What an unpacked folder's ``darwin_parent.json`` says.

    Attributes:
        source: the public name of what was unpacked.
        kind: ``adapter``, ``gguf`` or ``quantised``.
        sentence: what was done, for people.
        child_dtype: the dtype of safetensors (``BF16``) that a child has whose father this folder is.
        child_dtypes: tensor on disk -> its dtype in the child, where that is another.
        license: as the origin states it; empty where it does not.
        genealogy: ancestors of the origin, eldest first.
    """

    source: str
    kind: str
    sentence: str
    child_dtype: str
    child_dtypes: Mapping[str, str] = field(default_factory=dict)
    license: str = ""
    genealogy: tuple[str, ...] = ()

    def in_child(self, name: str, stored: str) -> str:
        """The dtype that a tensor gets in a child of this father; what is no float stays as it is ``stored``."""
        return self.child_dtypes.get(name, self.child_dtype) if stored in FLOATING else stored

    def to_json(self) -> dict[str, Any]:
        """The note's fields."""
        return {
            "source": self.source,
            "kind": self.kind,
            "sentence": self.sentence,
            "child_dtype": self.child_dtype,
            "child_dtypes": dict(self.child_dtypes),
            "license": self.license,
            "genealogy": list(self.genealogy),
        }


def unpacking_notes(folders: Iterable[Path]) -> tuple[str, ...]:
    """What was done to unpack models, a sentence for each that was."""
    notes = (read_parent_note(folder) for folder in dict.fromkeys(folders))
    return tuple(f"unpacked: {note.sentence}" for note in notes if note is not None)


def read_parent_note(folder: Path) -> ParentNote | None:
    """The note of an unpacked folder; None for any other model."""
    try:
        said = json.loads(read_text(folder / PARENT_NOTE))
        return ParentNote(
            str(said["source"]),
            str(said["kind"]),
            str(said["sentence"]),
            str(said["child_dtype"]),
            {str(name): str(dtype) for name, dtype in said["child_dtypes"].items()},
            str(said["license"]),
            tuple(str(line) for line in said["genealogy"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
