"""Scans -> Prior: where the search starts, how far it may stray, and which layers it must leave alone.

Preset ``response``: the mean is the secant zero of the fitness response, r0 = r s_0 / (s_0 - s_r) with slopes of the loss at
0 and at the reference ratio r, clipped to [0, upper] and shrunk by the gene's trust toward the flat start. Trust is the
reliability of that gene's slope, S / (S + V): V its bootstrap variance, S the variance of slopes over genes beyond the mean
V. sigma = sigma_max (1 - trust) + sigma_min, in units of upper.

Presets ``v5``, ``v6``, ``paper``: the mean is trust * ratio + (1 - trust) * flat with the published ratio of ``presets`` and
a trust that is the same for all genes. ``flat``: the middle of the box, no trust.

Freezing: a layer is frozen when its harm to a protected text at the reference ratio, relative to the father's loss there,
exceeds the tolerance in at least ``stability`` of the bootstrap resamples; that is, when the one-sided lower bootstrap bound
of that level exceeds it. A layer's harm is the sum over its genes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.config import PriorConfig
from darwin_mri.mri.presets import PRESET_TRUST, SPREAD
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights
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
    if len(slopes) < MIN_DOCUMENTS:
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
    ratios: Mapping[str, float] | None = None,
) -> Prior:
    """Build the prior of a genome space.

    Args:
        genes: gene name -> layer (None where it belongs to no single layer), in the space's order.
        layer_map: mother layer of each father layer.
        fitness: slopes of the fitness loss; for the ``response`` preset.
        protected: slopes of NLL per byte on each protected language or domain.
        ratios: what a published preset says of each gene (``presets.preset_ratios``); genes it leaves out start flat.
    """
    names, layers = list(genes), list(genes.values())
    mean, trust, informative, notes = _starts(names, config.preset, upper, reference, fitness, ratios, resamples, seed)
    stability, harm_notes = _stability(protected, layers, reference, config.tolerance, resamples, seed)
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
        note="; ".join(notes + harm_notes),
        protect=config.protect,
        tolerance=config.tolerance,
        frozen=frozen,
        layers=_layers(records, layer_map),
        genes=tuple(records),
        upper=upper,
    )


def _starts(
    names: Sequence[str],
    preset: str,
    upper: float,
    reference: float,
    fitness: GeneSlopes | None,
    ratios: Mapping[str, float] | None,
    resamples: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, bool, list[str]]:
    """(mean, trust) per gene, whether the evidence says anything, and in words where it does not."""
    flat = FLAT_SHARE * upper
    mean, trust = np.full(len(names), flat), np.zeros(len(names))
    if preset == "response" and fitness is not None:
        slopes = (fitness.zero + fitness.reference) / 2
        if not slopes.any():
            return mean, trust, False, ["no signal: blending changes nothing, the parents are equal"]
        trust = gene_trust(slopes, resamples, seed)
        zero = secant_zero(fitness.zero.mean(0), fitness.reference.mean(0), reference, upper)
        mean = trust * zero + (1 - trust) * flat
        if np.mean(trust) > 0.5:
            return mean, trust, True, []
        return (
            mean,
            trust,
            False,
            [f"no signal: the fitness response has mean trust {np.mean(trust):.2f}; genes start near flat"],
        )
    if ratios is not None:
        known = np.array([name in ratios for name in names])
        said = np.array([ratios.get(name, 0.0) for name in names])
        trust = np.where(known, PRESET_TRUST[preset], 0.0)
        mean = trust * np.clip(said, 0.0, upper) + (1 - trust) * flat
        spread = float(np.ptp(said[known])) if known.any() else 0.0
        if spread >= SPREAD:
            return mean, trust, True, []
        low, high = (said[known].min(), said[known].max()) if known.any() else (0.0, 0.0)
        return mean, trust, False, [f"no signal: {preset} gives every gene a ratio between {low:.3f} and {high:.3f}"]
    return mean, trust, False, ["flat preset: the scan does not move the start"]


def _stability(
    protected: Mapping[str, GeneSlopes],
    layers: Sequence[int | None],
    reference: float,
    tolerance: float,
    resamples: int,
    seed: int,
) -> tuple[dict[int, float], list[str]]:
    """Per layer the largest freezing stability over the protected texts, and which texts were too short to tell."""
    stability: dict[int, float] = {}
    notes = []
    for name, slopes in protected.items():
        if len(slopes.zero) < MIN_DOCUMENTS:
            notes.append(f"too few documents in {name} to freeze by")
            continue
        harm = reference * (slopes.zero + slopes.reference) / 2
        for layer, share in freeze_stability(harm, slopes.base, layers, tolerance, resamples, seed).items():
            stability[layer] = max(stability.get(layer, 0.0), share)
    return stability, notes


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
