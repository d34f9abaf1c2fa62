"""Where a run comes from: enough to repeat it, nothing about the machine's owner."""

from __future__ import annotations

from typing import Any

from darwin_mri.records.base import Part, Record


class Manifest(Record):
    created: str  # UTC, ISO 8601
    argv: tuple[str, ...]
    config: dict[str, Any]
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    seed: int
    seconds: dict[str, float] = {}
    status: str  # running, done, failed, interrupted
    note: str = ""


class FileDigest(Part):
    name: str
    size: int
    sha256: str


class ParentInput(Part):
    role: str
    ref: str
    revision: str | None
    digest: str
    files: tuple[FileDigest, ...]
    family: str = ""
    genealogy: tuple[str, ...] = ()  # ancestors, eldest first, from the parent's own darwin_mri.json where it has one
    license: str = ""  # as the parent's model card states it; empty where it states none


class Inputs(Record):
    parents: tuple[ParentInput, ...]


class Health(Record):
    """The child's health check: each gate with its measured value and limit."""

    passed: bool
    gates: tuple[HealthGate, ...]


class HealthGate(Part):
    name: str
    passed: bool
    value: float | str
    limit: str
    note: str = ""


class ChildFiles(Record):
    """What was written: sha256 per weight shard and the tensors that differ from the father's."""

    shards: dict[str, str]
    changed: tuple[str, ...]
    tensors: int
    genealogy: tuple[str, ...] = ()


Health.model_rebuild()
