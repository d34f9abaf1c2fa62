"""Ancestors that a child of darwin_mri carries with it."""

from __future__ import annotations

import json
from pathlib import Path

from darwin_mri.checkpoints.atomic_folder import NOTE
from darwin_mri.files import read_text


def read_ancestry(folder: Path) -> tuple[str, ...]:
    """The ancestors in a folder's darwin_mri.json, eldest first; empty for any other model."""
    try:
        note = json.loads(read_text(folder / NOTE))
        return tuple(str(line) for line in note["genealogy"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
