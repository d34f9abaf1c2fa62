"""What each published formula says of a gene: the mother's share, from weight statistics and probe distances alone.

With s the statistics of one tensor (H Shannon entropy in bits of a 256-bin histogram, sd, norm) and p the mean over
probe kinds of the cosine distance between a layer's mean state over that kind of text and over plain prose:

* ``v5`` (Darwin-9B-Opus card): score = 0.5 H + 0.3 sd + 0.002 min(norm, 100); below 0.05 the father's tensor is kept,
  above 0.95 the mother's is taken.
* ``v6`` (Darwin-31B-Opus post): score = 0.4 static + 0.6 p, kept below 0.15 and taken above 0.85; the post does not
  print static, which is v5's score with H / 8 in this module.
* ``paper`` (arXiv 2605.14386): score = 0.5 static + 0.5 p; static is "normalised entropy, variance, capped norm"
  without weights, in this module the mean of H / 8, sd^2 and min(norm, 100) / 100.

Then ratio = score_mother / (score_father + score_mother) per tensor, and a gene's ratio is the mean over its tensors.
What the sources leave open is decided in docs/decisions/0011.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from darwin_mri.records import LayerScan, Scan

# v5 prints 0.7; the later ones search it, from the middle.
PRESET_TRUST = {"v5": 0.7, "v6": 0.5, "paper": 0.5}
TRANSPLANT = {"v5": (0.05, 0.95), "v6": (0.15, 0.85), "paper": (0.0, 1.0)}
NORM_CAP = 100.0
MAX_BITS = 8.0  # entropy of 256 equally full bins
SPREAD = 0.01  # ratios that differ by less than this say nothing about genes


@dataclass(frozen=True)
class GeneTensors:
    """The tensors of a gene.

    Attributes:
        layer: the father's layer they belong to; None where they belong to none.
        names: of the tensors, relative to the layer; whole names where there is none.
    """

    layer: int | None
    names: tuple[str, ...]


def preset_ratios(
    preset: str, father: Scan, mother: Scan, layer_map: Sequence[int], genes: Mapping[str, GeneTensors]
) -> dict[str, float]:
    """The mother's share of every gene, by a published formula.

    Args:
        preset: ``v5``, ``v6`` or ``paper``.
        father: the father's scan.
        mother: the mother's scan.
        layer_map: mother layer of each father layer.
        genes: gene name -> its tensors.

    Returns:
        Gene -> share in [0, 1]; genes without any matrix in both scans are left out.
    """
    out = {}
    for gene, tensors in genes.items():
        if tensors.layer is None:
            father_weights, mother_weights, probes = father.outside, mother.outside, (0.0, 0.0)
        else:
            layers = father.layers[tensors.layer], mother.layers[layer_map[tensors.layer]]
            father_weights, mother_weights = (layer.weights for layer in layers)
            probes = _probe(layers[0]), _probe(layers[1])
        ratios = []
        for name in tensors.names:
            if name in father_weights and mother_weights:
                # Another family may name its matrices otherwise; then all of the layer's stand for them.
                matched = [mother_weights[name]] if name in mother_weights else list(mother_weights.values())
                score_father = _score(preset, father_weights[name], probes[0])
                score_mother = float(np.mean([_score(preset, statistics, probes[1]) for statistics in matched]))
                total = score_father + score_mother
                ratios.append(_transplant(preset, score_mother / total if total > 0 else 0.5))
        if ratios:
            out[gene] = float(np.mean(ratios))
    return out


def _score(preset: str, s: Mapping[str, float], probe: float) -> float:
    norm = min(s["norm"], NORM_CAP)
    if preset == "v5":
        return 0.5 * s["entropy"] + 0.3 * s["std"] + 0.002 * norm
    if preset == "v6":
        return 0.4 * (0.5 * s["entropy"] / MAX_BITS + 0.3 * s["std"] + 0.002 * norm) + 0.6 * probe
    static = (s["entropy"] / MAX_BITS + s["std"] ** 2 + norm / NORM_CAP) / 3
    return 0.5 * static + 0.5 * probe


def _transplant(preset: str, ratio: float) -> float:
    low, high = TRANSPLANT[preset]
    return 0.0 if ratio < low else 1.0 if ratio > high else ratio


def _probe(layer: LayerScan) -> float:
    distances = list(layer.probe_distance.values())
    return float(np.mean(distances)) if distances else 0.0
