"""All channels -> one Scan per parent, one PairScan for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from darwin_mri.mri.activations import Activations, measure_activations, summarise
from darwin_mri.mri.importance import ablation_nll, domain_importance, language_sensitivity
from darwin_mri.mri.language import alignment, specific_neurons
from darwin_mri.mri.similarity import cka_matrix, map_p_value, monotone_map, proportional_map
from darwin_mri.mri.weights import weight_statistics
from darwin_mri.probes import Reading, describe_probes
from darwin_mri.records import Anatomy, Channel, LanguageScan, LayerScan, ModelInfo, PairScan, Response, Scan

NATS_TO_BITS = 1 / np.log(2)


@dataclass(frozen=True)
class Parent:
    """A loaded parent as the scanner needs it."""

    info: ModelInfo
    model: Any
    anatomy: Anatomy
    reading: Reading


def model_info(ref: str, digest: str, model: Any, anatomy: Anatomy) -> ModelInfo:
    """Who is scanned, from the model and its anatomy."""
    return ModelInfo(
        ref=ref,
        digest=digest,
        family=anatomy.family,
        layers=len(anatomy.layers),
        hidden_size=anatomy.hidden_size,
        ffn_size=anatomy.ffn_size,
        mixers=tuple(layer.mixer for layer in anatomy.layers),
        parameters=sum(p.numel() for p in model.parameters()),
    )


def scan_work(parent: Parent) -> int:
    """Document reads a scan takes: the unit of its progress bar."""
    ablated = sum(layer.ffn is not None for layer in parent.anatomy.layers)
    return len(parent.reading.probes) * (1 + ablated)


def scan_parent(
    parent: Parent,
    *,
    positions: list[tuple[int, int]],
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Scan, Activations]:
    """Channels 1, 2, 4 and 5 of one parent; its paired FFN increments come along for the pair's channel 3."""
    reading, anatomy = parent.reading, parent.anatomy
    activations = measure_activations(parent.model, anatomy, reading, positions=positions, advance=advance)
    statistics = summarise(activations)
    ablated = ablation_nll(parent.model, anatomy, activations, advance=advance)
    importance, channels = domain_importance(ablated, activations.nll, reading, resamples, seed)
    sensitivity, raw, causal = language_sensitivity(ablated, activations.nll, reading, resamples, seed)
    aligned, representational = alignment(activations, resamples, seed)
    neurons = specific_neurons(activations)
    weights = weight_statistics(parent.model, anatomy)
    layers = []
    for info in anatomy.layers:
        i = info.index
        layers.append(
            LayerScan(
                index=i,
                mixer=info.mixer,
                activation=statistics[i],
                weights=weights[i],
                language=LanguageScan(
                    sensitivity={k: v[i] for k, v in sensitivity.items()},
                    raw_rise={k: v[i] for k, v in raw.items()},
                    specific_neurons=neurons[i],
                    alignment={k: v[i] for k, v in aligned.items()},
                ),
                importance={k: v[i] for k, v in importance.items()},
            )
        )
    scan = Scan(
        model=parent.info,
        probes=describe_probes(reading.probes, reading.tokens),
        layers=tuple(layers),
        channels={**channels, **causal, **representational},
        bits_per_byte=bits_per_byte(reading, activations.nll),
    )
    return scan, activations


def bits_per_byte(reading: Reading, nll: np.ndarray) -> dict[str, float]:
    """The model's loss by ``language:xx`` (prose only, so that content compares) and ``domain:xx``."""
    sizes = reading.bytes_read.numpy()
    out = {}
    for kind, names in (
        ("language", {p.language for p in reading.probes}),
        ("domain", {p.domain for p in reading.probes}),
    ):
        for name in sorted(names):
            keep = np.array(
                [
                    (p.language == name and p.domain == "prose") if kind == "language" else p.domain == name
                    for p in reading.probes
                ]
            )
            if keep.any():
                out[f"{kind}:{name}"] = float(nll[keep].sum() / sizes[keep].sum() * NATS_TO_BITS)
    return out


def scan_pair(
    father: ModelInfo,
    mother: ModelInfo,
    father_activations: Activations,
    mother_activations: Activations,
    documents: np.ndarray,
    *,
    reference_ratio: float,
    response: tuple[Response, ...] = (),
    seed: int = 0,
) -> PairScan:
    """Channel 3: CKA of FFN increments at shared positions, and the layer map."""
    left, right = father_activations.sampled, mother_activations.sampled
    cka = cka_matrix(left, right)
    proportional = proportional_map(father.layers, mother.layers)
    observed, p_value = map_p_value(left, right, documents, seed=seed) if len(documents) >= 32 else (0.0, 1.0)
    informative = p_value <= 0.05
    note = f"mean best CKA {observed:.2f} over {len(documents)} positions"
    channel = Channel(
        reliability=float(np.clip(observed, 0, 1)), p_value=p_value, informative=informative,
        note=note if informative else f"no signal ({note}): the proportional map is used",
    )  # fmt: skip
    return PairScan(
        father=father,
        mother=mother,
        cka=tuple(tuple(round(float(v), 6) for v in row) for row in cka),
        layer_map=monotone_map(cka) if informative else proportional,
        map_proportional=proportional,
        reference_ratio=reference_ratio,
        response=response,
        channels={"similarity": channel},
    )
