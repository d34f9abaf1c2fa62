"""Genome spaces: which named genes a child has, and which tensors each gene moves.

``ffn``: one ratio per father layer, for its FFN (the seed's 42 genes). ``layers``: one for the mixer and one for the FFN of
each layer, and one for everything outside the layers (embeddings, final norm).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from darwin_mri.records import Anatomy


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
