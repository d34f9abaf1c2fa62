"""Where a run comes from: enough to repeat it, nothing about the machine's owner."""

from __future__ import annotations

from typing import Any

from darwin_mri.records.base import Part, Record


class Manifest(Record):
    """How a run was started, and how it stands.

    Attributes:
        created: when, in UTC, ISO 8601.
        argv: the command.
        config: every setting of the run.
        commit: of the package's source, where it is a checkout.
        dirty: whether that checkout had changes that were not committed; None where it is no checkout.
        versions: package -> version.
        device: that the run computes on.
        seed: of the run.
        seconds: stage -> time it took, over all its attempts.
        status: "running", "done", "failed" or "interrupted".
        note: why it failed.
        spoiled: whether a parent changed while the run went on, so that it cannot be resumed.
    """

    created: str
    argv: tuple[str, ...]
    config: dict[str, Any]
    commit: str | None
    dirty: bool | None
    versions: dict[str, str]
    device: str
    seed: int
    seconds: dict[str, float] = {}
    status: str
    note: str = ""
    spoiled: bool = False


class FileDigest(Part):
    """One file of a model folder.

    Attributes:
        name: of the file.
        size: in bytes.
        sha256: of its content.
    """

    name: str
    size: int
    sha256: str


class ParentInput(Part):
    """One parent as it was read.

    Attributes:
        role: "father", "mother", "base", ...
        ref: as the user wrote it, without folders.
        revision: commit on the hub; None where it was read from a folder.
        digest: sha256 over the weight files' digests.
        files: of the model folder.
        family: the configuration's model type.
        genealogy: ancestors, eldest first, from the parent's own darwin_mri.json where it has one.
        license: as the parent's model card states it; empty where it states none.
    """

    role: str
    ref: str
    revision: str | None
    digest: str
    files: tuple[FileDigest, ...]
    family: str = ""
    genealogy: tuple[str, ...] = ()
    license: str = ""


class Inputs(Record):
    """What a run read.

    Attributes:
        parents: every model it read.
        notes: in what parents of one architecture differ beside their weights, in sentences.
    """

    parents: tuple[ParentInput, ...]
    notes: tuple[str, ...] = ()


class Health(Record):
    """The child's health check.

    Attributes:
        passed: whether every gate is passed.
        gates: each with its measured value and limit.
    """

    passed: bool
    gates: tuple[HealthGate, ...]


class HealthGate(Part):
    """One gate of the health check.

    Attributes:
        name: what is checked.
        passed: whether the value is within the limit.
        value: measured.
        limit: in words.
        note: what to know of the value.
    """

    name: str
    passed: bool
    value: float | str
    limit: str
    note: str = ""


class ChildFiles(Record):
    """What was written of a child.

    Attributes:
        shards: weight file -> sha256.
        changed: names of the tensors that differ from the father's.
        tensors: number of all tensors.
        genealogy: the child's ancestors, eldest first.
    """

    shards: dict[str, str]
    changed: tuple[str, ...]
    tensors: int
    genealogy: tuple[str, ...] = ()


Health.model_rebuild()
