"""Genome spaces: which named genes a child has, and what each gene does to which tensors.

``ffn``: one ratio per father layer, for its FFN (the 42 genes of the Darwin-4B-Genesis card); a layer with a mixture of
experts has one for the experts and one for what every token passes beside them, and its router stays the father's.
``layers``: one for the mixer and one for the FFN of each layer, or for its experts, shared experts and router, and one
for everything outside the layers (embeddings, final norm). Both are ``Space``: a gene is the ratio of its tensors; with
several other parents each has such a gene. The published genomes, whose genes are mixed with the prior before they are
ratios, are in ``darwin``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.records import Anatomy, Prior
from darwin_mri.records.prior import GeneSite
from darwin_mri.records.roles import MOTHER

OPENING = (1.0, 0.5, 0.0)  # shares of the prior's mean tried first; 0 is the father unchanged

FFN_PARTS = ("ffn", "experts", "shared")  # what takes the FFN's place in a layer

TensorValues = dict[str, dict[str, float | str]]
"""Tensor name -> its own ratio and settings."""


@dataclass(frozen=True)
class Start:
    """Where a search begins.

    Attributes:
        names: of the genes, in the order of every array here.
        mean: where each gene starts, (genes,); frozen genes stay there.
        sigma: how far each gene is expected to move, (genes,).
        low: lower bounds, (genes,).
        high: upper bounds, (genes,).
        frozen: which genes never move, (genes,) of bool.
        opening: vectors tried before the search's own, (candidates, genes); the first is the mean, the last the father.
    """

    names: tuple[str, ...]
    mean: np.ndarray
    sigma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frozen: np.ndarray
    opening: np.ndarray


@dataclass(frozen=True)
class Gene:
    """One ratio.

    Attributes:
        name: such as ``L3.ffn``.
        layer: the father layer it belongs to; None where it belongs to no single one.
        tensors: parameter names of the whole model.
        parent: role of the parent whose share it is.
        component: ``ffn``, ``experts``, ``router``, ``shared``, ``mixer`` or ``outside``.
    """

    name: str
    layer: int | None
    tensors: tuple[str, ...]
    parent: str = MOTHER
    component: str = ""

    @property
    def site(self) -> GeneSite:
        """Where the gene acts, for the prior."""
        return GeneSite(self.layer, self.parent, self.component)


@dataclass(frozen=True)
class Space:
    """A genome space over one father.

    Attributes:
        name: ``ffn`` or ``layers``.
        genes: in order; every tensor belongs to at most one of each parent.
    """

    name: str
    genes: tuple[Gene, ...]

    @property
    def several(self) -> bool:
        """Whether there are several other parents."""
        return len({gene.parent for gene in self.genes}) > 1

    def sites(self) -> dict[str, GeneSite]:
        """Gene name -> where it acts."""
        return {gene.name: gene.site for gene in self.genes}

    def gene_parents(self) -> dict[str, str]:
        """Gene name -> role of the parent whose share it is."""
        return {gene.name: gene.parent for gene in self.genes}

    def ffn_ratios(self, genes: Mapping[str, float], layers: int) -> tuple[float, ...]:
        """The ratio of each father layer's FFN, or of its experts, summed over the parents; 0 without such a gene."""
        sums = [0.0] * layers
        for gene in self.genes:
            if gene.layer is not None and gene.component in ("ffn", "experts"):
                sums[gene.layer] += float(genes.get(gene.name, 0.0))
        return tuple(sums)

    def start(self, prior: Prior) -> Start:
        """The prior's means and spreads; the opening steps from the prior's mean back to the father."""
        mean = np.array([gene.mean for gene in prior.genes])
        return Start(
            names=tuple(gene.name for gene in prior.genes),
            mean=mean,
            sigma=np.array([gene.sigma for gene in prior.genes]),
            low=np.zeros(len(mean)),
            high=np.full(len(mean), prior.upper),
            frozen=np.array([gene.frozen for gene in prior.genes]),
            opening=np.outer(OPENING, mean),
        )

    def owners(self) -> dict[str, tuple[str, ...]]:
        """Gene -> the tensors that it is the ratio of."""
        return {gene.name: gene.tensors for gene in self.genes}

    def ratios(self, genes: Mapping[str, float]) -> dict[str, float]:
        """Gene -> its ratio: the gene itself."""
        return {gene.name: float(genes.get(gene.name, 0.0)) for gene in self.genes}

    def values(self, genes: Mapping[str, float]) -> TensorValues:
        """Settings of tensors beside the ratio that is their gene: none in this space."""
        return {}

    def uniform(self, start: Start, genes: Mapping[str, float]) -> dict[str, float]:
        """The null child without a choice of layers: every gene that is not frozen at the mean of these genes."""
        return self._means(start, genes, lambda gene: "")

    def per_parent(self, start: Start, genes: Mapping[str, float]) -> dict[str, float]:
        """The null child with one ratio for each parent: every free gene at the mean of that parent's free genes."""
        return self._means(start, genes, lambda gene: gene.parent)

    def _means(self, start: Start, genes: Mapping[str, float], group: Callable[[Gene], str]) -> dict[str, float]:
        """Every free gene at the mean of the free genes of its group, frozen ones at 0."""
        frozen = dict(zip(start.names, start.frozen, strict=True))
        free: dict[str, list[float]] = {}
        for gene in self.genes:
            if not frozen[gene.name]:
                free.setdefault(group(gene), []).append(genes[gene.name])
        means = {name: float(np.mean(values)) for name, values in free.items()}
        return {gene.name: 0.0 if frozen[gene.name] else means[group(gene)] for gene in self.genes}


def make_space(name: str, anatomy: Anatomy, tensors: Iterable[str], parents: Sequence[str] = (MOTHER,)) -> Space:
    """Build a space over the tensors that may change.

    Args:
        name: ``ffn`` or ``layers``.
        anatomy: of the father.
        tensors: names in memory of the text model's tensors that a child may change.
        parents: roles of the other parents. With one a gene is called ``L3.ffn``, with several ``L3.ffn.mother``.

    Returns:
        The space; its genes are in the order of the layers, those outside the layers last.
    """
    prefix = f"{anatomy.prefix}."
    by_gene: dict[tuple[str, int | None], list[str]] = {}
    for tensor in tensors:
        gene = _component(anatomy, prefix, tensor)
        if name == "layers" or gene[0] in FFN_PARTS:
            by_gene.setdefault(gene, []).append(tensor)
    order = sorted(by_gene, key=lambda g: (g[1] is None, g[1] or 0, g[0]))
    several = len(parents) > 1
    return Space(name, tuple(_gene(*gene, by_gene[gene], parent, several) for gene in order for parent in parents))


def _gene(component: str, layer: int | None, tensors: Iterable[str], parent: str, several: bool) -> Gene:
    parts = [*([] if layer is None else [f"L{layer}"]), component, *([parent] if several else [])]
    return Gene(".".join(parts), layer, tuple(sorted(tensors)), parent, component)


def _component(anatomy: Anatomy, prefix: str, tensor: str) -> tuple[str, int | None]:
    """The part of the model that a tensor belongs to, and its layer; None for embeddings, norms and head."""
    if not tensor.startswith(prefix):
        return "outside", None
    index, _, rest = tensor.removeprefix(prefix).partition(".")
    return anatomy.layers[int(index)].component(rest), int(index)
