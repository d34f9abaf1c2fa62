"""What a cross-architecture arm built from the mother, layer by layer, and how well its maps fit."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class DonorLayer(Part):
    """The donor of one father layer. ``file`` lies in the run's ``state/donors``; ``fit`` holds the arm's own figures, e.g. the
    share of variance (R2) its maps explain."""

    index: int
    mother_layer: int | None
    file: str
    sha256: str
    fit: dict[str, float] = {}


class DonorRecord(Record):
    """All donors of a run, in the order they were built."""

    arm: str
    layers: tuple[DonorLayer, ...]
