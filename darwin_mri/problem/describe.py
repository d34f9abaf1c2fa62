"""What a run records of a parent: files and digests, family, ancestors, licence."""

from __future__ import annotations

import json

from darwin_mri.checkpoints import ModelSource, file_digests, weights_digest
from darwin_mri.checkpoints.origin import read_ancestry, stated_license
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
