"""Scans -> Prior: where the search starts, how far it may stray, and which layers it must leave alone.

Preset ``response``: the mean is where a few quasi-Newton steps down the fitness loss lead (``descent``), shrunk by the
gene's trust toward the uniform start: one ratio for all genes, 0 or the reference, whichever has the lower loss. Trust
is the reliability of that gene's slope, S / (S + V): V its bootstrap variance, S the variance of slopes over genes
beyond the mean V. sigma = sigma_max (1 - trust) + sigma_min, in units of upper.

Preset ``cross-fitted``: the mean is ``crossfit``'s, and trust is its share, the same for all genes.

Presets ``v5``, ``v6``, ``paper``: the mean is trust * ratio + (1 - trust) * flat with the published ratio of
``presets`` and a trust that is the same for all genes. ``flat``: the middle of the box, no trust.

Freezing: a layer is frozen for another parent when the harm of that parent's genes in it to a protected text at the
reference ratio, relative to the father's loss there, exceeds the tolerance in at least ``stability`` of the bootstrap
resamples; that is, when the one-sided lower bootstrap bound of that level exceeds it. The harm is the sum over these
genes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.config import PriorConfig
from darwin_mri.mri.crossfit import CrossFit
from darwin_mri.mri.descent import Descent
from darwin_mri.mri.presets import PRESET_TRUST, SPREAD
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights
from darwin_mri.records import Prior, PriorGene, PriorLayer
from darwin_mri.records.prior import GeneSite

UNREAD = "no signal: {preset} needs two blocks of search items whose loss has slopes, so genes start flat"
EQUAL = "no signal: blending changes nothing, the parents are equal"
FLAT_SHARE = 0.5  # the flat start, as a share of upper: the middle of the box
Place = tuple[int, str]
"""A father layer and the role of another parent: what is frozen together."""


def place_of(site: GeneSite) -> Place | None:
    """Where a gene is frozen with others; None for a gene of no layer."""
    return None if site.layer is None else (site.layer, site.parent)


@dataclass(frozen=True)
class GeneSlopes:
    """Block slopes of one loss along all genes.

    Attributes:
        zero: (blocks, genes) with all genes at 0.
        reference: (blocks, genes) with all genes at the reference ratio.
        base: mean loss with all genes at 0.
        blended: mean loss with all genes at the reference ratio.
    """

    zero: np.ndarray
    reference: np.ndarray
    base: float
    blended: float

    def uniform(self, reference: float) -> float:
        """The one ratio for all genes, 0 or the reference, with the lower loss."""
        return reference if self.blended < self.base else 0.0


def gene_trust(slopes: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Trust S / (S + V) of each gene.

    Args:
        slopes: (blocks, genes).
        resamples: bootstrap resamples over blocks.
        seed: of the resamples.

    Returns:
        (genes,) in [0, 1]; 0 everywhere with fewer than 4 blocks or no spread.
    """
    if len(slopes) < MIN_DOCUMENTS:
        return np.zeros(slopes.shape[1])
    resampled = bootstrap_weights(len(slopes), resamples, seed, "trust") @ slopes / len(slopes)  # (resamples, genes)
    noise = np.var(resampled, axis=0)
    signal = max(float(np.var(slopes.mean(0)) - noise.mean()), 0.0)
    return signal / np.maximum(signal + noise, 1e-30)


def freeze_stability(
    harm: np.ndarray, base: float, sites: Sequence[GeneSite], tolerance: float, resamples: int, seed: int
) -> dict[Place, float]:
    """Per layer and other parent the share of resamples in which the relative harm exceeds the tolerance.

    Args:
        harm: (blocks, genes) loss rise attributed to each gene at the reference ratio.
        base: the father's loss on the same text.
        sites: of each gene.
        tolerance: relative rise of the loss that is accepted.
        resamples: bootstrap resamples over blocks.
        seed: of the resamples.

    Returns:
        Layer and parent -> share in [0, 1]; genes of no layer have none.
    """
    resampled = bootstrap_weights(len(harm), resamples, seed, "harm") @ harm / len(harm) / base
    places = [place_of(site) for site in sites]
    out = {}
    for place in dict.fromkeys(place for place in places if place is not None):
        member = np.array([own == place for own in places])
        out[place] = float((resampled[:, member].sum(1) > tolerance).mean())
    return out


@dataclass(frozen=True)
class Freezing:
    """Which layers the search must leave alone, by other parent.

    Attributes:
        stability: place -> share of resamples with too much harm, the largest over the protected texts.
        frozen: places whose share reaches the configured stability.
        notes: in words, which texts were too short to tell.
    """

    stability: dict[Place, float]
    frozen: frozenset[Place]
    notes: tuple[str, ...]

    def holds(self, site: GeneSite) -> bool:
        """Whether a gene is frozen."""
        return place_of(site) in self.frozen


@dataclass(frozen=True)
class PriorOptions:
    """The box that genes live in, and how their evidence is resampled.

    Attributes:
        upper: largest ratio of a gene; the smallest is 0.
        reference: the ratio at which the blend response was measured.
        resamples: bootstrap resamples over blocks.
        seed: of the resamples.
    """

    upper: float
    reference: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Evidence:
    """What is known about the genes; a preset uses its own part, and without it genes start flat.

    Attributes:
        fitness: slopes of the fitness loss, for preset ``response``.
        descent: where these slopes lead, for preset ``response``.
        fit: where they lead and how far unseen items agree, for preset ``cross-fitted``.
        ratios: gene -> what a published preset says of it (``presets.preset_ratios``); genes left out start flat.
    """

    fitness: GeneSlopes | None = None
    descent: Descent | None = None
    fit: CrossFit | None = None
    ratios: Mapping[str, float] | None = None


def freeze(
    protected: Mapping[str, GeneSlopes],
    sites: Sequence[GeneSite],
    config: PriorConfig,
    *,
    reference: float,
    resamples: int,
    seed: int,
) -> Freezing:
    """Apply the freezing rule to every protected text.

    Args:
        protected: slopes of NLL per byte on each protected language or domain.
        sites: of each gene.
        config: tolerance and stability.
        reference: the ratio at which the response was measured.
        resamples: bootstrap resamples over blocks.
        seed: of the resamples.

    Returns:
        The frozen layers, and how stable each verdict is.
    """
    stability: dict[Place, float] = {}
    notes = []
    for name, slopes in protected.items():
        if len(slopes.zero) < MIN_DOCUMENTS:
            notes.append(f"too few documents in {name} to freeze by")
            continue
        harm = reference * (slopes.zero + slopes.reference) / 2
        for place, share in freeze_stability(harm, slopes.base, sites, config.tolerance, resamples, seed).items():
            stability[place] = max(stability.get(place, 0.0), share)
    frozen = frozenset(place for place, share in stability.items() if share >= config.stability)
    return Freezing(stability, frozen, tuple(notes))


def make_prior(
    genes: Mapping[str, GeneSite],
    layer_maps: Mapping[str, Sequence[int]],
    config: PriorConfig,
    options: PriorOptions,
    freezing: Freezing,
    evidence: Evidence,
) -> Prior:
    """Build the prior of a genome space.

    Args:
        genes: gene name -> where it acts, in the space's order.
        layer_maps: role of each other parent -> its layer beside each father layer.
        config: preset, protected texts, and the range of sigma.
        options: box of the genes, and resampling.
        freezing: of each layer (``freeze``).
        evidence: what the preset draws on.

    Returns:
        Mean, sigma and trust of every gene, by gene and by layer.
    """
    if config.preset == "response" and evidence.fitness is not None and evidence.descent is not None:
        start = _follow_response(evidence.fitness, evidence.descent, options)
    elif config.preset == "cross-fitted" and evidence.fitness is not None and evidence.fit is not None:
        start = _follow_fit(evidence.fitness, evidence.fit, options)
    else:
        start = _follow_published(list(genes), config.preset, options.upper, evidence.ratios)
    trust = start.trust
    sigma = options.upper * (config.sigma_max * (1 - trust) + config.sigma_min)
    records = []
    for g, (name, site) in enumerate(genes.items()):
        fixed, place = freezing.holds(site), place_of(site)
        share = 0.0 if place is None else freezing.stability.get(place, 0.0)
        records.append(
            PriorGene(
                name=name,
                layer=site.layer,
                parent=site.parent,
                mean=0.0 if fixed else float(start.mean[g]),
                sigma=0.0 if fixed else float(sigma[g]),
                trust=float(trust[g]),
                frozen=fixed,
                frozen_stability=share,
                component=site.component,
            )
        )
    return Prior(
        preset=config.preset,
        informative=start.informative,
        note="; ".join([*start.notes, *freezing.notes]),
        protect=config.protect,
        tolerance=config.tolerance,
        frozen=_frozen_layers(freezing.frozen, layer_maps),
        layers=tuple(
            layer for parent, layer_map in layer_maps.items() for layer in _layers(records, parent, layer_map)
        ),
        genes=tuple(records),
        upper=options.upper,
    )


@dataclass(frozen=True)
class _Start:
    """Where a preset starts: mean and trust (genes,), whether its evidence says anything, and what it says in words."""

    mean: np.ndarray
    trust: np.ndarray
    informative: bool
    notes: list[str]


def _follow_response(fitness: GeneSlopes, descent: Descent, options: PriorOptions) -> _Start:
    reference = options.reference
    slopes = (fitness.zero + fitness.reference) / 2
    genes = slopes.shape[1]
    if not slopes.any():
        return _Start(np.full(genes, FLAT_SHARE * options.upper), np.zeros(genes), False, [EQUAL])
    uniform = fitness.uniform(reference)
    trust = gene_trust(slopes, options.resamples, options.seed)
    mean = trust * descent.ratios + (1 - trust) * uniform
    steps = len(descent.losses) - 1
    note = f"all genes at {uniform:g} is the better of 0 and {reference:g}"
    if steps:
        note += f"; {steps} steps from there lower the loss from {descent.losses[0]:.4f} to {descent.losses[-1]:.4f}"
    if np.mean(trust) > 0.5:
        return _Start(mean, trust, True, [note])
    no_signal = f"no signal: slopes have mean trust {np.mean(trust):.2f}; genes start near {uniform:g}"
    return _Start(mean, trust, False, [no_signal, note])


def _follow_fit(fitness: GeneSlopes, fit: CrossFit, options: PriorOptions) -> _Start:
    genes = len(fit.ratios)
    if not fitness.zero.any() and not fitness.reference.any():
        return _Start(np.full(genes, FLAT_SHARE * options.upper), np.zeros(genes), False, [EQUAL])
    start, seen, unseen = fit.losses
    note = f"all genes at {fit.uniform:.3g} is the best uniform child; descents on half of the items lower their loss"
    note += f" from {start:.4f} to {seen:.4f}, that of the other half to {unseen:.4f}"
    trust = np.full(genes, fit.share)
    if fit.share > 0:
        return _Start(fit.mean, trust, True, [f"{note}; followed {fit.share:.0%} of the way"])
    return _Start(fit.mean, trust, False, ["no signal: unseen items do not agree with any descent", note])


def _follow_published(names: Sequence[str], preset: str, upper: float, ratios: Mapping[str, float] | None) -> _Start:
    """The start of the published presets, and of ``flat``."""
    flat = FLAT_SHARE * upper
    mean, trust = np.full(len(names), flat), np.zeros(len(names))
    if ratios is None:
        why = "flat preset: the scan does not move the start" if preset == "flat" else UNREAD.format(preset=preset)
        return _Start(mean, trust, False, [why])
    known = np.array([name in ratios for name in names])
    published = np.array([ratios.get(name, 0.0) for name in names])
    trust = np.where(known, PRESET_TRUST[preset], 0.0)
    mean = trust * np.clip(published, 0.0, upper) + (1 - trust) * flat
    spread = float(np.ptp(published[known])) if known.any() else 0.0
    if spread >= SPREAD:
        return _Start(mean, trust, True, [])
    low, high = (published[known].min(), published[known].max()) if known.any() else (0.0, 0.0)
    note = f"no signal: {preset} gives every gene a ratio between {low:.3f} and {high:.3f}"
    return _Start(mean, trust, False, [note])


def _frozen_layers(frozen: frozenset[Place], parents: Collection[str]) -> tuple[int, ...]:
    """The layers that are frozen whichever the other parent."""
    layers = {layer for layer, _ in frozen}
    return tuple(layer for layer in sorted(layers) if all((layer, parent) in frozen for parent in parents))


def _layers(genes: Sequence[PriorGene], parent: str, layer_map: Sequence[int]) -> tuple[PriorLayer, ...]:
    out = []
    for index, mother_layer in enumerate(layer_map):
        own = [gene for gene in genes if (gene.layer, gene.parent) == (index, parent)]
        out.append(
            PriorLayer(
                index=index,
                parent=parent,
                mother_layer=mother_layer,
                mean=float(np.mean([g.mean for g in own])) if own else 0.0,
                sigma=float(np.mean([g.sigma for g in own])) if own else 0.0,
                trust=float(np.mean([g.trust for g in own])) if own else 0.0,
                frozen=bool(own) and all(g.frozen for g in own),
                frozen_stability=max((g.frozen_stability for g in own), default=0.0),
            )
        )
    return tuple(out)
