"""Genome spaces: which named genes a child has, and what each gene does to which tensors.

``ffn``: one ratio per father layer, for its FFN (the seed's 42 genes). ``layers``: one for the mixer and one for the FFN of
each layer, and one for everything outside the layers (embeddings, final norm). Both are ``Space``: a gene is the ratio of its
tensors. The published genomes, whose genes are mixed with the prior before they are ratios, are in ``darwin``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from darwin_mri.records import Anatomy, Prior

OPENING = (1.0, 0.5, 0.0)  # shares of the prior's mean tried first; 0 is the father himself

TensorValues = dict[str, dict[str, float | str]]
"""Tensor name -> its own ratio and settings."""


@dataclass(frozen=True)
class Start:
    """Where a search begins: arrays over ``names`` (genes,); frozen genes stay at their mean.

    ``opening``: vectors tried before the search's own, (candidates, genes); the first is the mean, the last the father.
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
    """One ratio. ``tensors`` are parameter names of the whole model."""

    name: str
    layer: int | None
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Space:
    """A genome space over one father: genes in order; every tensor belongs to at most one gene."""

    name: str
    genes: tuple[Gene, ...]

    def gene_of(self) -> dict[str, str]:
        """Tensor name -> gene name."""
        return {tensor: gene.name for gene in self.genes for tensor in gene.tensors}

    def layers(self) -> dict[str, int | None]:
        """Gene name -> layer."""
        return {gene.name: gene.layer for gene in self.genes}

    def ffn_ratios(self, genes: Mapping[str, float], layers: int) -> tuple[float, ...]:
        """The FFN ratio of each father layer; 0 for a layer without an FFN gene."""
        return tuple(float(genes.get(f"L{index}.ffn", 0.0)) for index in range(layers))

    def start(self, prior: Prior) -> Start:
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
        """Gene -> tensors it is the ratio of."""
        return {gene.name: gene.tensors for gene in self.genes}

    def values(self, genes: Mapping[str, float]) -> TensorValues:
        """What tensors get beside the ratio that is their gene: nothing here."""
        return {}

    def uniform(self, start: Start, genes: Mapping[str, float]) -> dict[str, float]:
        """The null child without a choice of layers: every free gene at the mean of these."""
        free = [name for name, frozen in zip(start.names, start.frozen, strict=True) if not frozen]
        mean = float(np.mean([genes[name] for name in free])) if free else 0.0
        return {name: mean if name in free else 0.0 for name in start.names}


def make_space(name: str, anatomy: Anatomy, tensors: Iterable[str]) -> Space:
    """Build a space over the tensors that may change.

    Args:
        name: ``ffn`` or ``layers``.
        tensors: parameter names of the whole model that a child may change (those the mother has, in shape).
    """
    prefix = f"{anatomy.prefix}."
    by_gene: dict[tuple[str, int | None], list[str]] = {}
    for tensor in tensors:
        gene = _gene(name, anatomy, prefix, tensor)
        if gene is not None:
            by_gene.setdefault(gene, []).append(tensor)
    order = sorted(by_gene, key=lambda g: (g[1] is None, g[1] or 0, g[0]))
    return Space(name, tuple(Gene(gene, layer, tuple(sorted(by_gene[(gene, layer)]))) for gene, layer in order))


def _is_tower(tensor: str) -> bool:
    return any(part in tensor for part in ("vision", "visual", "audio"))


def _gene(space: str, anatomy: Anatomy, prefix: str, tensor: str) -> tuple[str, int | None] | None:
    if not tensor.startswith(prefix):
        # The text model's own embeddings, norms and head; never a vision or audio tower beside it.
        text = anatomy.prefix.rpartition(".")[0]
        ours = tensor.startswith((f"{text}.", "lm_head.", "embed_out.")) and not _is_tower(tensor)
        return ("outside", None) if space == "layers" and ours else None
    index, _, rest = tensor.removeprefix(prefix).partition(".")
    info = anatomy.layers[int(index)]
    in_ffn = info.ffn is not None and (
        rest.startswith(f"{info.ffn.module}.") or rest.split(".")[0] in (info.ffn.up, info.ffn.down)
    )
    if in_ffn:
        return f"L{index}.ffn", int(index)
    return (f"L{index}.mixer", int(index)) if space == "layers" else None
