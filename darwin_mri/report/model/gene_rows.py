"""One gene per father layer and other parent: what the prior expected of its ratio, and what the search found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from darwin_mri.config import JOINT
from darwin_mri.records import Genome, Prior, PriorGene
from darwin_mri.records.roles import MOTHER, PARENTS
from darwin_mri.report.charts import Gene

MOST_LAYERS = 1000  # a layer number beyond this is no layer


def upper_ratio(prior: Prior | None, genome: Genome | None) -> float:
    """The largest ratio the search could use; without a prior, the largest it found."""
    if prior is not None:
        return prior.upper
    return max(genome.ratios, default=1.0) if genome is not None else 1.0


def other_parents(prior: Prior | None, genome: Genome | None) -> list[str]:
    """Roles of the parents that have genes of their own; the mother alone where one ratio moves to all together."""
    known = {MOTHER} | ({gene.parent for gene in prior.genes} if prior else set())
    known |= {genome.parent_of(gene) for gene in genome.genes} if genome else set()
    return [role for role in PARENTS[1:] if role in known]


def is_joint(genome: Genome | None) -> bool:
    """Whether the genes are shares of what several other parents are together, as of model_stock or sce."""
    return genome is not None and len(genome.roles) > 2 and genome.method in JOINT


def component_of(gene: PriorGene) -> str:
    """What of the layer a gene blends, e.g. ``mixer`` or ``ffn``; older records say so in the gene's name alone."""
    if gene.component:
        return gene.component
    name = gene.name.removesuffix(f".{gene.parent}")
    return "".join(c for c in name if not c.isdigit()).strip("._-:[] ") or "ratio"


def layer_kinds(prior: Prior | None) -> dict[str, list[PriorGene]]:
    """Genes of layers by component."""
    kinds: dict[str, list[PriorGene]] = {}
    for gene in prior.genes if prior else ():
        if gene.layer is not None:
            kinds.setdefault(component_of(gene), []).append(gene)
    return kinds


def found_ratio(gene: PriorGene, genome: Genome | None) -> float | None:
    """The ratio the search found; a frozen gene that the genome leaves out is 0."""
    return None if genome is None else genome.genes.get(gene.name, 0.0 if gene.frozen else None)


def layer_genes(prior: Prior | None, genome: Genome | None, parent: str = MOTHER) -> list[Gene]:
    """The genes in the order of the father's layers; what a record does not say is None.

    Args:
        prior: the genes' layers and where the search started.
        genome: what it found.
        parent: role of the parent whose shares they are.

    Returns:
        one gene per layer; of several parents or components the ratio is the mean over the layer's genes.
    """
    ratios = dict(enumerate(genome.ratios)) if genome else {}
    if len(other_parents(prior, genome)) > 1:
        ratios = _mean_ratios(prior, genome, parent)
    layers = {layer.index: layer for layer in prior.layers if layer.parent == parent} if prior else {}
    genes = []
    for index in range(max([0, *(i + 1 for i in (*ratios, *layers) if i < MOST_LAYERS)])):
        layer, ratio = layers.get(index), ratios.get(index)
        if layer is None:
            genes.append(Gene(str(index), None, None, ratio, None))
        else:
            genes.append(Gene(str(index), layer.mean, layer.sigma, ratio, layer.trust, layer.frozen))
    return genes


def _mean_ratios(prior: Prior | None, genome: Genome | None, parent: str) -> dict[int, float]:
    by_layer: dict[int, list[float]] = {}
    for gene in prior.genes if prior else ():
        ratio = found_ratio(gene, genome)
        if gene.layer is not None and gene.parent == parent and ratio is not None:
            by_layer.setdefault(gene.layer, []).append(ratio)
    return {layer: sum(values) / len(values) for layer, values in by_layer.items()}


@dataclass(frozen=True)
class Cell:
    """One (parent, layer) of the matrix of a component's genes.

    Attributes:
        gene: where the search started.
        found: the ratio it found; None where that is not known.
    """

    gene: PriorGene
    found: float | None


Matrix = dict[str, dict[int, Cell]]  # other parent -> father layer -> cell


def gene_matrix(genes: Iterable[PriorGene], genome: Genome | None) -> Matrix:
    """The genes of one component by parent and layer, parents in the order of the config."""
    cells: Matrix = {}
    for gene in genes:
        if gene.layer is not None and 0 <= gene.layer < MOST_LAYERS:
            cells.setdefault(gene.parent, {})[gene.layer] = Cell(gene, found_ratio(gene, genome))
    return {role: cells[role] for role in PARENTS if role in cells}
