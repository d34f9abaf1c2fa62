"""The published genomes: few genes give a ratio per tensor, mixed with the scan's by a trust that is a gene too.

    r(T) = (1 - lambda) (tau r_MRI(T) + (1 - tau) r_genome(T))        trust fusion, arXiv 2605.14386
    r_genome(T) = upper (gamma alpha(T) r_block(T))^(1/3)

r_MRI is the prior's mean of the tensor's gene in the space ``layers`` (or ``ffn``), whichever preset made it; alpha is
the gene of the tensor's component (attention, FFN, embedding), r_block that of its part of the depth. The paper leaves
open how gamma, alpha and r_block combine and what lambda penalises; docs/decisions/0013 has the choice made here and
why.

``darwin14``: gamma, alpha_attn, alpha_ffn, alpha_emb, rho_a, rho_b, r0..r5, tau, lambda. ``darwin-v6`` (its cards):
eight blocks, no lambda, a method weight that draws the densities toward 1, and ratios below .15 or above .85 of upper
snapped to the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from darwin_mri.breeding.spaces import Space, Start, TensorValues
from darwin_mri.records import Prior
from darwin_mri.records.roles import MOTHER

MIDDLE, SPREAD = 0.5, 0.3  # where genes without evidence start in [0, 1], and how far they stray
SNAP = (0.15, 0.85)  # V6: shares of upper beyond which a tensor is one parent's
LARGEST_LAMBDA = 0.1
LOWEST_DENSITY = 0.05
# Component of a tensor -> its gene; all that takes the FFN's place, experts and their router, has the FFN's.
ALPHAS = {"outside": "alpha_emb", "mixer": "alpha_attn"}


@dataclass(frozen=True)
class DarwinSpace:
    """A published genome over a space of plain ratios.

    Attributes:
        name: ``darwin14`` or ``darwin-v6``.
        inner: the space whose genes the prior is over.
        prior: of the inner space; its frozen layers stay the father's.
        layers: number of the father's layers.
        sparse: whether the method has densities; else their genes are frozen at 1.
    """

    name: str
    inner: Space
    prior: Prior
    layers: int
    sparse: bool

    @property
    def v6(self) -> bool:
        """Whether this is the genome of the V6 cards."""
        return self.name == "darwin-v6"

    @property
    def blocks(self) -> tuple[str, ...]:
        """Genes of the parts of the depth."""
        return tuple(f"r{index}" for index in range(8 if self.v6 else 6))

    @property
    def names(self) -> tuple[str, ...]:
        """All genes, in order."""
        last = ("tau", "method_weight") if self.v6 else ("tau", "lambda")
        return ("gamma", "alpha_attn", "alpha_ffn", "alpha_emb", "rho_a", "rho_b", *self.blocks, *last)

    def start(self, prior: Prior) -> Start:
        """Most genes in the middle, densities at 1, lambda at 0, and tau at the mean trust of the prior's genes."""
        free = [gene.trust for gene in prior.genes if not gene.frozen]
        middle = {"tau": float(np.mean(free)) if free else 0.0, "lambda": 0.0, "rho_a": 1.0, "rho_b": 1.0}
        mean = np.array([middle.get(name, MIDDLE) for name in self.names])  # (genes,), as the next three
        high = np.array([LARGEST_LAMBDA if name == "lambda" else 1.0 for name in self.names])
        low = np.array([LOWEST_DENSITY if name.startswith("rho") else 0.0 for name in self.names])
        inert = {"rho_a", "rho_b", *(("method_weight",) if self.v6 else ())}
        frozen = np.array([not free or (name in inert and not self.sparse) for name in self.names])
        opening = [dict(zip(self.names, mean, strict=True)) for _ in range(3)]
        opening[1] |= {"tau": 1.0}  # the prior alone
        opening[2] |= {"tau": 0.0, "gamma": 0.0, "rho_a": 1.0}  # the father
        return Start(
            names=self.names,
            mean=mean,
            sigma=SPREAD * (high - low),
            low=low,
            high=high,
            frozen=frozen,
            opening=np.array([list(vector.values()) for vector in opening]),  # (3, genes)
        )

    def gene_parents(self) -> dict[str, str]:
        """Every gene is about the mother's share: these genomes are for two parents."""
        return dict.fromkeys(self.names, MOTHER)

    def owners(self) -> dict[str, tuple[str, ...]]:
        """All tensors under gamma: each has its own ratio among ``values``."""
        tensors = tuple(tensor for gene in self.inner.genes for tensor in gene.tensors)
        return {name: tensors if name == "gamma" else () for name in self.names}

    def values(self, genes: Mapping[str, float]) -> TensorValues:
        """Ratio of every tensor, and its densities where the method has them."""
        weight = genes["method_weight"] if self.v6 else 1.0
        density = {
            "density": 1 - weight * (1 - genes["rho_b"]),
            "density_father": 1 - weight * (1 - genes["rho_a"]),
        }
        out: TensorValues = {}
        for gene, ratio in self.ratios(genes).items():
            # A tensor whose ratio is 0 is the father's own, whatever the densities.
            own = {"ratio": ratio, **(density if self.sparse and ratio else {})}
            out |= {tensor: dict(own) for tensor in self._tensors[gene]}
        return out

    def ffn_ratios(self, genes: Mapping[str, float], layers: int) -> tuple[float, ...]:
        """The FFN ratio of each father layer; 0 for a layer without an FFN gene."""
        return self.inner.ffn_ratios(self.ratios(genes), layers)

    def uniform(self, start: Start, genes: Mapping[str, float]) -> dict[str, float]:
        """The null child without a choice of layers or components: no prior, one ratio, the mean of these."""
        share = min(1.0, float(np.mean(list(self.ratios(genes).values()))) / self.prior.upper)
        one = dict.fromkeys(("gamma", "alpha_attn", "alpha_ffn", "alpha_emb", *self.blocks), share)
        return {**genes, **one, "tau": 0.0, **({} if self.v6 else {"lambda": 0.0})}

    @property
    def _tensors(self) -> dict[str, tuple[str, ...]]:
        return {gene.name: gene.tensors for gene in self.inner.genes}

    def ratios(self, genes: Mapping[str, float]) -> dict[str, float]:
        """The ratio of every gene of the inner space."""
        upper, tau = self.prior.upper, genes["tau"]
        out, components = {}, {gene.name: gene.component for gene in self.inner.genes}
        for gene in self.prior.genes:
            if gene.frozen:
                out[gene.name] = 0.0
                continue
            factors = [genes["gamma"], genes[ALPHAS.get(components[gene.name], "alpha_ffn")]]
            if gene.layer is not None:  # embeddings belong to no depth
                factors.append(genes[self.blocks[gene.layer * len(self.blocks) // self.layers]])
            ratio = tau * gene.mean + (1 - tau) * upper * float(np.prod(factors)) ** (1 / len(factors))
            if self.v6:
                ratio = 0.0 if ratio < SNAP[0] * upper else upper if ratio > SNAP[1] * upper else ratio
            out[gene.name] = ratio * (1 - genes.get("lambda", 0.0))
        return out


SearchSpace = Space | DarwinSpace
