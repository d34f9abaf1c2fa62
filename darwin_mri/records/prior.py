"""What the search starts from: per gene a mean, a spread, a trust and whether it is frozen."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records.base import Part, Record
from darwin_mri.records.roles import MOTHER


@dataclass(frozen=True)
class GeneSite:
    """Where a gene acts.

    Attributes:
        layer: father layer; None where the gene belongs to no single layer.
        parent: role of the parent whose share the gene is.
        component: what it moves: ``ffn``, ``experts``, ``router``, ``shared``, ``mixer`` or ``outside``.
    """

    layer: int | None
    parent: str = MOTHER
    component: str = ""


class PriorGene(Part):
    """One gene of the genome space.

    Attributes:
        name: of the gene.
        layer: father layer; None: the gene belongs to no single layer (embeddings, densities).
        parent: role of the parent whose share the gene is.
        mean: where the search starts.
        sigma: how far the gene is expected to move.
        trust: reliability of the evidence for it, in [0, 1].
        frozen: whether it stays at its mean.
        frozen_stability: share of bootstrap resamples in which the freezing rule holds.
        component: what it moves: ``ffn``, ``experts``, ``router``, ``shared``, ``mixer`` or ``outside``.
    """

    name: str
    layer: int | None
    parent: str = MOTHER
    mean: float
    sigma: float
    trust: float
    frozen: bool = False
    frozen_stability: float = 0.0
    component: str = ""


class PriorLayer(Part):
    """The genes of one father layer and another parent, for people; ratios are that parent's shares in [0, r_max].

    Attributes:
        index: number of the father layer.
        parent: role of the other parent.
        mother_layer: number of the other parent's layer beside it.
        mean: of the genes' means.
        sigma: mean of the genes' sigmas.
        trust: mean of the genes' trusts.
        frozen: whether all its genes are frozen.
        frozen_stability: the largest of its genes'.
    """

    index: int
    parent: str = MOTHER
    mother_layer: int
    mean: float
    sigma: float
    trust: float
    frozen: bool
    frozen_stability: float


class Prior(Record):
    """The distribution that a search starts from.

    Attributes:
        preset: that made it.
        informative: whether the evidence tells layers apart; else the prior is flat.
        note: caveats, in words.
        protect: languages and domains that may not get worse.
        tolerance: relative rise of their NLL per byte that is still no harm.
        frozen: father layers that stay unchanged, whichever the other parent.
        layers: summary by other parent and father layer: the mother's layers first, in order.
        genes: the prior itself.
        upper: largest ratio that the search may use.
    """

    preset: str
    informative: bool
    note: str = ""
    protect: tuple[str, ...]
    tolerance: float
    frozen: tuple[int, ...]
    layers: tuple[PriorLayer, ...]
    genes: tuple[PriorGene, ...]
    upper: float
