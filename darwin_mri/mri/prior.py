"""Scans -> Prior: where the search starts, how far it may stray, and which layers it must leave alone.

Preset ``response``: the mean is the secant zero of the fitness response, r0 = r s_0 / (s_0 - s_r) with slopes of the loss at
0 and at the reference ratio r, clipped to [0, upper] and shrunk by the gene's trust toward the flat start. Trust is the
reliability of that gene's slope, S / (S + V): V its bootstrap variance, S the variance of slopes over genes beyond the mean
V. sigma = sigma_max (1 - trust) + sigma_min, in units of upper.

Freezing: a layer is frozen when its harm to a protected text at the reference ratio, relative to the father's loss there,
exceeds the tolerance in at least ``stability`` of the bootstrap resamples; that is, when the one-sided lower bootstrap bound
of that level exceeds it. A layer's harm is the sum over its genes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.config import PriorConfig
from darwin_mri.mri.reliability import bootstrap_weights
from darwin_mri.records import Prior, PriorGene, PriorLayer

FLAT_SHARE = 0.5  # the flat start, as a share of upper: the middle of the box


@dataclass(frozen=True)
class GeneSlopes:
    """Block slopes of one loss: ``zero`` and ``reference`` (blocks, genes); ``base``: the father's loss (mean over blocks)."""

    zero: np.ndarray
    reference: np.ndarray
    base: float


def secant_zero(slope: np.ndarray, slope_reference: np.ndarray, reference: float, upper: float) -> np.ndarray:
    """Where the line through both slopes of the loss crosses zero, clipped to [0, upper].

    A loss that rises at once (slope >= 0) has its best ratio at 0 unless it turns down enough by the reference ratio; one that
    falls ever faster has it at upper.
    """
    out = np.empty_like(slope)
    for g, (s0, s1) in enumerate(zip(slope, slope_reference, strict=True)):
        if s1 > s0 and s0 < 0:  # convex, falling at first: a minimum between
            out[g] = reference * s0 / (s0 - s1)
        else:  # no minimum inside: the end of the box with the lower loss
            out[g] = upper if s0 + s1 < 0 else 0.0
    return np.clip(out, 0.0, upper)


def gene_trust(slopes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """S / (S + V) per gene from block slopes (blocks, genes); 0 everywhere with fewer than 4 blocks or no spread."""
    if len(slopes) < 4:
        return np.zeros(slopes.shape[1])
    resampled = bootstrap_weights(len(slopes), resamples, seed) @ slopes / len(slopes)
    noise = np.var(resampled, axis=0)
    signal = max(float(np.var(slopes.mean(0)) - noise.mean()), 0.0)
    return signal / np.maximum(signal + noise, 1e-30)


def freeze_stability(
    harm: np.ndarray, base: float, layers: Sequence[int | None], tolerance: float, resamples: int, seed: int
) -> dict[int, float]:
    """Per layer the share of resamples in which its relative harm exceeds the tolerance.

    Args:
        harm: (blocks, genes) loss rise attributed to each gene at the reference ratio.
        base: the father's loss on the same text.
        layers: layer of each gene, None for genes of no layer.
    """
    resampled = bootstrap_weights(len(harm), resamples, seed) @ harm / len(harm) / base
    out = {}
    for layer in sorted({index for index in layers if index is not None}):
        member = np.array([index == layer for index in layers])
        out[layer] = float((resampled[:, member].sum(1) > tolerance).mean())
    return out


def make_prior(
    genes: Mapping[str, int | None],
    layer_map: Sequence[int],
    config: PriorConfig,
    *,
    upper: float,
    reference: float,
    fitness: GeneSlopes | None,
    protected: Mapping[str, GeneSlopes],
    resamples: int,
    seed: int,
) -> Prior:
    """Build the prior of a genome space.

    Args:
        genes: gene name -> layer (None where it belongs to no single layer), in the space's order.
        layer_map: mother layer of each father layer.
        fitness: slopes of the fitness loss; None for the flat preset.
        protected: slopes of NLL per byte on each protected language or domain.
    """
    names, layers = list(genes), list(genes.values())
    flat = FLAT_SHARE * upper
    mean, trust, notes = np.full(len(names), flat), np.zeros(len(names)), []
    informative = False
    if config.preset == "response" and fitness is not None:
        trust = gene_trust((fitness.zero + fitness.reference) / 2, resamples, seed)
        zero = secant_zero(fitness.zero.mean(0), fitness.reference.mean(0), reference, upper)
        mean = trust * zero + (1 - trust) * flat
        informative = bool(np.mean(trust) > 0.5)
        if not informative:
            notes.append(f"no signal: the fitness response has mean trust {np.mean(trust):.2f}; genes start near flat")
    if config.preset == "flat":
        notes.append("flat preset: the scan does not move the start")
    stability: dict[int, float] = {}
    for name, slopes in protected.items():
        if len(slopes.zero) < 4:
            notes.append(f"too few documents in {name} to freeze by")
            continue
        harm = reference * (slopes.zero + slopes.reference) / 2
        for layer, share in freeze_stability(harm, slopes.base, layers, config.tolerance, resamples, seed).items():
            stability[layer] = max(stability.get(layer, 0.0), share)
    frozen = tuple(layer for layer, share in sorted(stability.items()) if share >= config.stability)
    sigma = upper * (config.sigma_max * (1 - trust) + config.sigma_min)
    records = []
    for g, (name, layer) in enumerate(genes.items()):
        fixed = layer in frozen
        share = 0.0 if layer is None else stability.get(layer, 0.0)
        records.append(
            PriorGene(
                name=name, layer=layer, mean=0.0 if fixed else float(mean[g]), sigma=0.0 if fixed else float(sigma[g]),
                trust=float(trust[g]), frozen=fixed, frozen_stability=share,
            )
        )  # fmt: skip
    return Prior(
        preset=config.preset,
        informative=informative,
        note="; ".join(notes),
        protect=config.protect,
        tolerance=config.tolerance,
        frozen=frozen,
        layers=_layers(records, layer_map),
        genes=tuple(records),
        upper=upper,
    )


def _layers(genes: Sequence[PriorGene], layer_map: Sequence[int]) -> tuple[PriorLayer, ...]:
    out = []
    for index, mother_layer in enumerate(layer_map):
        here = [gene for gene in genes if gene.layer == index]
        out.append(
            PriorLayer(
                index=index,
                mother_layer=mother_layer,
                mean=float(np.mean([g.mean for g in here])) if here else 0.0,
                sigma=float(np.mean([g.sigma for g in here])) if here else 0.0,
                trust=float(np.mean([g.trust for g in here])) if here else 0.0,
                frozen=bool(here) and all(g.frozen for g in here),
                frozen_stability=max((g.frozen_stability for g in here), default=0.0),
            )
        )
    return tuple(out)
