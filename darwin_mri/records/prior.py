"""What the search starts from: per gene a mean, a spread, a trust and whether it is frozen."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class PriorGene(Part):
    """One gene of the genome space. ``trust`` in [0, 1] is the reliability of the evidence for it."""

    name: str
    layer: int | None  # None: the gene belongs to no single layer (embeddings, densities)
    mean: float
    sigma: float
    trust: float
    frozen: bool = False
    frozen_stability: float = 0.0  # share of bootstrap resamples in which the freezing rule holds


class PriorLayer(Part):
    """The genes of one father layer, summed up for people; ratios are shares of the mother in [0, r_max]."""

    index: int
    mother_layer: int
    mean: float
    sigma: float
    trust: float
    frozen: bool
    frozen_stability: float


class Prior(Record):
    preset: str
    informative: bool
    note: str = ""
    protect: tuple[str, ...]
    tolerance: float
    frozen: tuple[int, ...]
    layers: tuple[PriorLayer, ...]
    genes: tuple[PriorGene, ...]
    upper: float  # largest ratio the search may use
