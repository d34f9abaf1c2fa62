"""All channels -> one Scan per parent, one PairScan for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from darwin_mri.checkpoints import layer_modules
from darwin_mri.mri.activations import Activations, measure_activations
from darwin_mri.mri.importance import LossCache, ablation_nll, domain_importance, language_sensitivity
from darwin_mri.mri.language import alignment, probe_distances, specific_neurons
from darwin_mri.mri.similarity import (
    cka_errors,
    cka_matrix,
    map_p_value,
    monotone_map,
    neuron_match,
    procrustes_residual,
    proportional_map,
)
from darwin_mri.mri.statistics import activation_statistics
from darwin_mri.mri.weights import sibling_weights, tensor_statistics, weight_statistics
from darwin_mri.probes import Reading, describe_probes, increment_module
from darwin_mri.records import (
    Anatomy,
    Channel,
    Estimate,
    LanguageScan,
    LayerScan,
    MappedLayer,
    ModelInfo,
    PairScan,
    Scan,
)

NEURON_POSITIONS = 256  # paired positions that also keep their neurons, for the best neuron match

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


def scan_work(parent: Parent, mixers: bool = True) -> int:
    """Document reads a scan takes: the unit of its progress bar."""
    parts = ("f", "m") if mixers else ("f",)
    layers = zip(parent.anatomy.layers, layer_modules(parent.model, parent.anatomy), strict=True)
    ablated = sum(increment_module(layer, info, part) is not None for info, layer in layers for part in parts)
    return len(parent.reading.probes) * (1 + ablated)


def scan_parent(
    parent: Parent,
    *,
    positions: list[tuple[int, int]],
    resamples: int,
    seed: int,
    mixers: bool = True,
    cache: LossCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Scan, Activations]:
    """Channels 1, 2, 4 and 5 of one parent; its values at paired positions come along for the pair's channel 3.

    Args:
        mixers: ablate mixers too, for channel 5's second half.
    """
    reading, anatomy = parent.reading, parent.anatomy
    activations = measure_activations(
        parent.model, anatomy, reading, positions=positions, neuron_positions=NEURON_POSITIONS, advance=advance
    )
    statistics = activation_statistics(activations, resamples, seed)
    ablated = ablation_nll(parent.model, anatomy, activations, "f", cache=cache, advance=advance)
    importance, channels = domain_importance(ablated, activations.nll, reading, resamples, seed)
    sensitivity, raw, causal = language_sensitivity(ablated, activations.nll, reading, resamples, seed)
    mixer_importance, mixer_channels = {}, {}
    if mixers:
        without = ablation_nll(parent.model, anatomy, activations, "m", cache=cache, advance=advance)
        mixer_importance, mixer_channels = domain_importance(
            without, activations.nll, reading, resamples, seed, name="mixer_importance"
        )
    aligned, representational = alignment(activations, resamples, seed)
    neurons, distances = specific_neurons(activations), probe_distances(activations)
    weights = weight_statistics(parent.model, anatomy)
    layers = []
    for info in anatomy.layers:
        i = info.index
        layers.append(
            LayerScan(
                index=i,
                mixer=info.mixer,
                activation=statistics.values[i],
                activation_intervals=statistics.intervals[i],
                weights=weights[i],
                language=LanguageScan(
                    sensitivity={k: v[i] for k, v in sensitivity.items()},
                    raw_rise={k: v[i] for k, v in raw.items()},
                    specific_neurons=neurons[i],
                    alignment={k: v[i] for k, v in aligned.items()},
                ),
                importance={k: v[i] for k, v in importance.items()},
                mixer_importance={k: v[i] for k, v in mixer_importance.items()},
                probe_distance=distances[i],
                note=info.note,
            )
        )
    scan = Scan(
        model=parent.info,
        probes=describe_probes(reading.probes, reading.tokens),
        layers=tuple(layers),
        channels={**statistics.channels, **channels, **mixer_channels, **causal, **representational},
        bits_per_byte=bits_per_byte(reading, activations.nll),
        outside=_outside(parent),
    )
    return scan, activations


def _outside(parent: Parent) -> dict[str, dict[str, float]]:
    """Weight statistics of the text model's matrices outside its layers: embeddings, an untied head."""
    text = parent.anatomy.prefix.rpartition(".")[0]
    return {
        name: tensor_statistics(parameter)
        for name, parameter in parent.model.named_parameters()
        if parameter.ndim == 2
        and not name.startswith(f"{parent.anatomy.prefix}.")
        and name.startswith((f"{text}.", "lm_head.", "embed_out."))
    }


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
    father: Parent,
    mother: Parent,
    father_activations: Activations,
    mother_activations: Activations,
    documents: np.ndarray,
    *,
    reference_ratio: float,
    seed: int = 0,
) -> PairScan:
    """Channel 3: CKA of FFN increments at shared positions, the layer map, and each mapped pair of layers closer up.

    Args:
        documents: document number of each paired position.
    """
    left, right = father_activations.sampled, mother_activations.sampled
    cka = cka_matrix(left, right)
    enough = len(documents) >= 32 and len(set(documents.tolist())) >= 2
    errors = cka_errors(left, right, documents) if enough else np.zeros_like(cka)
    observed, p_value = map_p_value(left, right, documents, seed=seed) if enough else (0.0, 1.0)
    informative = p_value <= 0.05
    note = f"mean best CKA {observed:.2f} over {len(documents)} positions"
    between = float(np.var(cka))
    reliability = float(np.clip(1 - np.mean(errors**2) / between, 0, 1)) if between > 0 and enough else 0.0
    channel = Channel(
        reliability=reliability, p_value=p_value, informative=informative,
        note=note if informative else f"no signal ({note}): the proportional map is used",
    )  # fmt: skip
    proportional = proportional_map(father.info.layers, mother.info.layers)
    layer_map = monotone_map(cka) if informative else proportional
    weights = ()
    if father.info.family == mother.info.family and father.info.layers == mother.info.layers:
        weights = sibling_weights(father.model, mother.model, father.anatomy)
    return PairScan(
        father=father.info,
        mother=mother.info,
        cka=tuple(tuple(round(float(v), 6) for v in row) for row in cka),
        layer_map=layer_map,
        map_proportional=proportional,
        reference_ratio=reference_ratio,
        channels={"similarity": channel},
        mapped=_mapped(layer_map, cka, errors, father_activations, mother_activations, seed),
        weights=weights,
    )


def _mapped(
    layer_map: tuple[int, ...], cka: np.ndarray, errors: np.ndarray, father: Activations, mother: Activations, seed: int
) -> tuple[MappedLayer, ...]:
    rng = np.random.default_rng(seed)
    out = []
    for i, j in enumerate(layer_map):
        value, half = float(cka[i, j]), 1.96 * float(errors[i, j])
        found: dict[str, float] = {}
        for name, measure, ours, theirs in (
            ("procrustes", procrustes_residual, father.sampled[i], mother.sampled[j]),
            ("neuron_match", neuron_match, father.neurons[i], mother.neurons[j]),
        ):
            if ours is not None and theirs is not None and len(ours) > 1:
                order = torch.as_tensor(rng.permutation(len(theirs)), device=theirs.device)
                found[name], found[f"{name}_null"] = measure(ours, theirs), measure(ours, theirs[order])
        estimate = Estimate(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0))
        out.append(MappedLayer(index=i, mother_layer=j, cka=estimate, **found))
    return tuple(out)
