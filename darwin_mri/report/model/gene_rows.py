"""One gene per father layer: what the prior expected of its ratio, and what the search found."""

from __future__ import annotations

from darwin_mri.records import Genome, Prior
from darwin_mri.report.charts import Gene

MOST_LAYERS = 1000  # a layer number beyond this is no layer


def upper_ratio(prior: Prior | None, genome: Genome | None) -> float:
    """The largest ratio the search could use; without a prior, the largest it found."""
    if prior is not None:
        return prior.upper
    return max(genome.ratios, default=1.0) if genome is not None else 1.0


def layer_genes(prior: Prior | None, genome: Genome | None) -> list[Gene]:
    """The genes in the order of the father's layers; what a record does not say is None."""
    ratios = genome.ratios if genome else ()
    layers = {layer.index: layer for layer in prior.layers} if prior else {}
    genes = []
    for index in range(max([len(ratios), *(i + 1 for i in layers if i < MOST_LAYERS)])):
        layer = layers.get(index)
        ratio = ratios[index] if index < len(ratios) else None
        if layer is None:
            genes.append(Gene(str(index), None, None, ratio, None))
        else:
            genes.append(Gene(str(index), layer.mean, layer.sigma, ratio, layer.trust, layer.frozen))
    return genes
