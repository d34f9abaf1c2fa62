"""H3 and H5: what a scan of the parents says of every gene, before any item was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from darwin_mri.problem.parents import Parents
from darwin_mri.problem.published import PUBLISHED_PRESETS, published_ratios
from darwin_mri.problem.scans import Scans
from darwin_mri.records import PairScan, Scan
from darwin_mri.stages.scan import scan_parents
from proving.methods.bench import Bench
from proving.methods.cells import Cell
from proving.methods.rows import Done, Plain


@dataclass(frozen=True)
class Channels(Plain):
    """The scans of base and specialists: every channel's value of every gene, and the published presets' ratios.

    Attributes:
        documents: of each domain.
    """

    documents: int = 8
    judged: ClassVar[bool] = False

    def measure(self, bench: Bench, done: Done) -> Cell:
        """As ``Row``; no child is left."""
        evaluator = bench.open()
        bench.restore()
        scan = {"documents": self.documents, "languages": ("en",), "mixers": True}
        config = bench.make_config("task_arithmetic", {}, scan=scan)
        parents = Parents(config, bench.parents.sources, bench.parents.base, "cpu", True)
        scans = scan_parents(bench.open_run("channels", config), parents)
        presets = {name: published_ratios(name, evaluator.space, bench.father, scans) for name in PUBLISHED_PRESETS}
        sites = evaluator.space.space.sites()
        channels: dict[str, dict[str, float]] = {}
        for gene, site in sites.items():
            if site.layer is not None:
                for name, value in _of_gene(scans, site.parent, site.layer, site.component).items():
                    channels.setdefault(name, {})[gene] = value
        places = {gene: [site.layer, site.component, site.parent] for gene, site in sites.items()}
        return Cell({"channels": channels, "presets": presets, "places": places})


def _of_gene(scans: Scans, parent: str, layer: int, component: str) -> Mapping[str, float]:
    """Channel -> its value for the gene of a component in a layer; channels without one are left out."""
    other, pair = scans.by_parent[parent]
    values: dict[str, float] = {}
    for name, scan in (("base", scans.father), ("specialist", other)):
        own = scan.layers[layer]
        rises = own.importance if component == "ffn" else own.mixer_importance
        if rises:
            values[f"importance, {name}"] = float(np.mean([rise.value for rise in rises.values()]))
        if component == "ffn" and own.language.raw_rise:
            values[f"language, {name}"] = float(np.mean([rise.value for rise in own.language.raw_rise.values()]))
    for measured in pair.weights:
        if (measured.index, measured.part) == (layer, component):
            values["relative change of weights"] = measured.relative_change
            values["cosine of weights"] = -measured.cosine
    if component == "ffn":
        values |= _similarity(pair, layer) | _activations(scans.father, other, layer)
    return values


def _similarity(pair: PairScan, layer: int) -> dict[str, float]:
    """How unlike the FFN's increments are, larger where they differ more."""
    mapped = pair.mapped[layer]
    values = {"FFN similarity (CKA)": -mapped.cka.value}
    if mapped.procrustes is not None:
        values["FFN similarity (Procrustes)"] = mapped.procrustes
    return values


def _activations(father: Scan, other: Scan, layer: int) -> dict[str, float]:
    """By how much each activation statistic of the FFN differs, relative to the base's."""
    first, second = father.layers[layer].activation, other.layers[layer].activation
    values: dict[str, float] = {}
    for site in first.keys() & second.keys():
        for statistic, value in first[site].get("all", {}).items():
            own = second[site].get("all", {}).get(statistic)
            if own is not None and value:
                values[f"activations: {site} {statistic}"] = abs(own - value) / abs(value)
    return values
