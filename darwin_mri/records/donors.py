"""What a cross-architecture arm built from the other parent, layer by layer, and how well its maps fit."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class DonorLayer(Part):
    """The donor of one father layer.

    Attributes:
        index: number of the father layer.
        mother_layer: number of the mother layer it was built from; None where it was built from no single one.
        file: its name in the run's ``state/donors``.
        sha256: of the file.
        fit: the arm's own figures, such as the share of variance (R2) that its maps explain.
    """

    index: int
    mother_layer: int | None
    file: str
    sha256: str
    fit: dict[str, float] = {}


class DonorRecord(Record):
    """All donors of a run.

    Attributes:
        arm: that built them.
        layers: the donors, in the order they were built.
    """

    arm: str
    layers: tuple[DonorLayer, ...]
