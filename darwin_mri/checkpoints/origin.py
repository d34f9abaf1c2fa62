"""Where a model comes from, as its folder states it: licence and ancestors."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from darwin_mri.checkpoints.atomic_folder import NOTE
from darwin_mri.checkpoints.source import read_parent_note
from darwin_mri.files import read_text


def stated_license(folder: Path) -> str:
    """The licence in the front matter of the folder's model card (README.md); one called ``other`` by its own name."""
    try:
        text = read_text(folder / "README.md")
        front = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        front = None
    if not isinstance(front, dict):
        note = read_parent_note(folder)
        return note.license if note else ""
    stated = front.get("license")
    if stated == "other":
        stated = front.get("license_name") or stated
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "")


def read_ancestry(folder: Path) -> tuple[str, ...]:
    """The ancestors in the note of a child, or of a folder unpacked from one, eldest first; else none."""
    unpacked = read_parent_note(folder)
    if unpacked:
        return unpacked.genealogy
    try:
        note = json.loads(read_text(folder / NOTE))
        return tuple(str(line) for line in note["genealogy"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
