"""What a run records of a parent: files and digests, family, ancestors, licence."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from darwin_mri.checkpoints import ModelSource, file_digests, weights_digest
from darwin_mri.files import read_text
from darwin_mri.merging.ancestry import read_ancestry
from darwin_mri.records import ParentInput


def describe_parent(role: str, source: ModelSource) -> ParentInput:
    """Files with size and sha256, family, ancestors and licence: everything about a parent that needs no torch."""
    files = file_digests(source.folder)
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return ParentInput(
        role=role,
        ref=source.ref,
        revision=source.revision,
        digest=weights_digest(files),
        files=files,
        family=str(config.get("model_type", "")),
        genealogy=read_ancestry(source.folder),
        license=stated_license(source.folder),
    )


def stated_license(folder: Path) -> str:
    """The licence in the front matter of the folder's model card (README.md); one called ``other`` by its own name."""
    try:
        text = read_text(folder / "README.md")
        front = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IndexError):
        return ""
    if not isinstance(front, dict):
        return ""
    stated = front.get("license")
    if stated == "other":
        stated = front.get("license_name") or stated
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "")
