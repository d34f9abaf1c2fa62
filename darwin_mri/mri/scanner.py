"""All channels -> one Scan per parent, one PairScan for both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from darwin_mri import seeds
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.layout import text_names
from darwin_mri.errors import InputError
from darwin_mri.mri.ablation import LossCache
from darwin_mri.mri.activations import Activations, measure_activations
from darwin_mri.mri.experts import expert_loads
from darwin_mri.mri.importance import domain_importance, language_sensitivity
from darwin_mri.mri.language import alignment, probe_distances, specific_neurons
from darwin_mri.mri.scan_ablation import AblationPlan, ablate_parts
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
from darwin_mri.mri.words import model_words
from darwin_mri.probes import TokenizedProbes, describe_probes
from darwin_mri.records import (
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
class ScanOptions:
    """How a parent is scanned.

    Attributes:
        resamples: bootstrap resamples over documents.
        seed: of the resamples and permutations.
        mixers: ablate mixers too, for channel 5's second half.
        ablation: ``fast`` (measured on some documents, estimated on the others) or ``exact``.
    """

    resamples: int
    seed: int
    mixers: bool = False
    ablation: str = "fast"

    @property
    def parts(self) -> tuple[str, ...]:
        """What is ablated: ``f`` FFNs, ``m`` mixers."""
        return ("f", "m") if self.mixers else ("f",)


def model_info(parent: LoadedModel) -> ModelInfo:
    """Name, digest and sizes of a model, as a scan's record states them."""
    anatomy = parent.anatomy
    return ModelInfo(
        ref=parent.source.ref,
        digest=parent.digest,
        family=anatomy.family,
        layers=len(anatomy.layers),
        hidden_size=anatomy.hidden_size,
        ffn_size=anatomy.ffn_size,
        mixers=tuple(layer.mixer for layer in anatomy.layers),
        parameters=sum(p.numel() for p in parent.model.parameters()),
    )


def scan_work(plan: AblationPlan) -> int:
    """Texts read in a scan, in whole forwards: the unit of its progress bar. A forward from a layer on is a part."""
    return math.ceil(len(plan.tokenized.probes) * (1 + plan.forwards))


class _Whole:
    """Passes work on in whole numbers.

    Args:
        advance: called with steps done.
    """

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance, self._done, self._told = advance, 0.0, 0

    def __call__(self, amount: float) -> None:
        self._done += amount
        steps = math.floor(self._done + 1e-6) - self._told
        if steps > 0:
            self._told += steps
            self._advance(steps)


def scan_parent(
    parent: LoadedModel,
    tokenized: TokenizedProbes,
    positions: list[tuple[int, int]],
    options: ScanOptions,
    *,
    plan: AblationPlan | None = None,
    cache: LossCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Scan, Activations]:
    """Channels 1, 2, 4, 5 and 8 of one parent; its values at paired positions come along for the pair's channel 3.

    Args:
        parent: the model, on the device it is scanned on.
        tokenized: the probes in its tokens, on its device.
        positions: (probe index, token index) of the places that the pair shares; empty for one model alone.
        options: resamples, seed, and what is ablated how.
        plan: of the ablation of this model and these probes, where it is made already.
        cache: losses measured by an earlier, interrupted scan.
        advance: called with steps of ``scan_work`` done.

    Returns:
        The record, and the sums and samples of the one pass.
    """
    anatomy, resamples, seed = parent.anatomy, options.resamples, options.seed
    activations = measure_activations(
        parent, tokenized, positions=positions, neuron_positions=NEURON_POSITIONS, advance=advance
    )
    statistics = activation_statistics(activations, resamples, seed)
    plan = plan or AblationPlan(parent, tokenized, options.parts, options.ablation, seed)
    ablated, how = ablate_parts(plan, activations, cache=cache, advance=_Whole(advance))
    importance, channels = domain_importance(ablated["f"], activations.nll, tokenized, resamples, seed)
    sensitivity, raw, causal = language_sensitivity(ablated["f"], activations.nll, tokenized, resamples, seed)
    mixer_importance, mixer_channels = {}, {}
    if options.mixers:
        mixer_importance, mixer_channels = domain_importance(
            ablated["m"], activations.nll, tokenized, resamples, seed, name="mixer_importance"
        )
    aligned, representational = alignment(activations, resamples, seed)
    neurons, distances = specific_neurons(activations), probe_distances(activations)
    words, word_channels = model_words(parent, activations, resamples, seed)
    weights, loads = weight_statistics(parent.model, anatomy), expert_loads(activations)
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
                words=words[i],
                experts=loads[i],
                note=info.note,
            )
        )
    scan = Scan(
        model=model_info(parent),
        probes=describe_probes(tokenized.probes, tokenized.tokens),
        layers=tuple(layers),
        channels=statistics.channels | channels | mixer_channels | causal | representational | word_channels,
        bits_per_byte=bits_per_byte(tokenized, activations.nll),
        outside=_outside(parent),
        ablation=how,
    )
    return scan, activations


def _outside(parent: LoadedModel) -> dict[str, dict[str, float]]:
    """Weight statistics of the text model's matrices outside its layers: embeddings, an untied head."""
    parameters = dict(parent.model.named_parameters())
    return {
        name: tensor_statistics(parameters[name], name)
        for name in text_names(parent.model, parameters)
        if parameters[name].ndim == 2 and not name.startswith(f"{parent.anatomy.prefix}.")
    }


def bits_per_byte(tokenized: TokenizedProbes, nll: np.ndarray) -> dict[str, float]:
    """The model's loss by ``language:xx`` (prose only, so that content compares) and ``domain:xx``."""
    sizes = tokenized.bytes_read.numpy()
    out = {}
    groups = [
        (f"language:{name}", [p.language == name and p.domain == "prose" for p in tokenized.probes])
        for name in sorted({p.language for p in tokenized.probes})
    ]
    groups += [
        (f"domain:{name}", [p.domain == name for p in tokenized.probes])
        for name in sorted({p.domain for p in tokenized.probes})
    ]
    for group, members in groups:
        keep = np.array(members)
        if keep.any():
            out[group] = float(nll[keep].sum() / sizes[keep].sum() * NATS_TO_BITS)
    return out


def gate_rms(scan: Scan) -> tuple[float | None, ...]:
    """Per layer the measured rms of the gate's pre-activation, None for a layer without FFN.

    Raises:
        InputError: a layer has neurons but no such figure; the scan is not whole.
    """
    values: list[float | None] = []
    for layer in scan.layers:
        neurons = layer.activation.get("a")
        if neurons is None:
            values.append(None)
        elif "gate_rms" in neurons.get("all", {}):
            values.append(neurons["all"]["gate_rms"])
        else:
            raise InputError(
                f"the scan of {scan.model.ref} lacks gate_rms of layer {layer.index}: scan the model again"
            )
    return tuple(values)


def scan_pair(
    father: LoadedModel,
    mother: LoadedModel,
    father_activations: Activations,
    mother_activations: Activations,
    documents: np.ndarray,
    *,
    reference_ratio: float,
    seed: int = 0,
) -> PairScan:
    """Channel 3: CKA of FFN increments at shared positions, the layer map, and each mapped pair of layers closer up.

    Args:
        father: the father.
        mother: the mother.
        father_activations: its pass, with values at the paired positions.
        mother_activations: its pass, with values at the same positions.
        documents: (positions,) document number of each paired position.
        reference_ratio: the ratio that the pair's blend response is measured at, for the record.
        seed: of shuffles.

    Returns:
        The record; the layer map is the proportional one where CKA has no signal.
    """
    left, right = father_activations.sampled, mother_activations.sampled
    cka = cka_matrix(left, right)
    enough = len(documents) >= 32 and len(set(documents.tolist())) >= 2
    errors = cka_errors(left, right, documents) if enough else np.zeros_like(cka)  # (father layers, mother layers)
    observed, p_value = map_p_value(left, right, documents, seed=seed) if enough else (0.0, 1.0)
    informative = p_value <= 0.05
    note = f"mean best CKA {observed:.2f} over {len(documents)} positions"
    between = float(np.var(cka))
    reliability = float(np.clip(1 - np.mean(errors**2) / between, 0, 1)) if between > 0 and enough else 0.0
    if not informative:
        note = f"no signal ({note}): the proportional map is used"
    channel = Channel(reliability=reliability, p_value=p_value, informative=informative, note=note)
    proportional = proportional_map(len(father.anatomy.layers), len(mother.anatomy.layers))
    layer_map = monotone_map(cka) if informative else proportional
    weights = ()
    if father.anatomy.family == mother.anatomy.family and len(father.layers) == len(mother.layers):
        weights = sibling_weights(father, mother)
    return PairScan(
        father=model_info(father),
        mother=model_info(mother),
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
    rng = seeds.named(seed, "neuron pairs")
    out = []
    for i, j in enumerate(layer_map):
        value, half = float(cka[i, j]), 1.96 * float(errors[i, j])
        figures: dict[str, float] = {}
        for name, measure, own, other in (  # (positions, width) each
            ("procrustes", procrustes_residual, father.sampled[i], mother.sampled[j]),
            ("neuron_match", neuron_match, father.neurons[i], mother.neurons[j]),
        ):
            if own is not None and other is not None and len(own) > 1:
                order = torch.as_tensor(rng.permutation(len(other)), device=other.device)
                figures[name], figures[f"{name}_null"] = measure(own, other), measure(own, other[order])
        estimate = Estimate(value=value, low=max(value - half, -1.0), high=min(value + half, 1.0))
        out.append(MappedLayer(index=i, mother_layer=j, cka=estimate, **figures))
    return tuple(out)
