"""Channel 4, representational and neuronal: what the one pass tells about languages."""

from __future__ import annotations

import numpy as np
import torch

from darwin_mri.mri.activations import Activations
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights, channel, estimates, permutation_p
from darwin_mri.records import Channel, Estimate

ENTROPY_QUANTILE = 0.01  # arXiv 2402.16438: the 1 % of neurons with the lowest entropy over languages
ACTIVE_QUANTILE = 0.95  # and among them those whose firing probability reaches the 95th percentile somewhere


def alignment(
    activations: Activations, resamples: int, seed: int, pivot: str = "en"
) -> tuple[dict[str, list[Estimate]], dict[str, Channel]]:
    """Representational channel: cos(parallel passages) - mean cos(mismatched ones) of pooled h_out, against the pivot.

    Args:
        activations: the one pass.
        resamples: bootstrap resamples over passages.
        seed: of the resamples and permutations.
        pivot: the language that all others are compared with; the first there is where the probes lack it.

    Returns:
        (estimates per layer by language, channel verdict by language); empty without parallel passages in the pivot.
    """
    index = activations.passages
    languages = sorted({language for _, language in index})
    if pivot not in languages:
        pivot = languages[0] if languages else ""
    passages = sorted({name for name, _ in index})
    if len(passages) < 2:
        return {}, {}
    result: dict[str, list[Estimate]] = {}
    channels: dict[str, Channel] = {}
    weights = bootstrap_weights(len(passages), resamples, seed, "alignment")
    for language in languages:
        if language == pivot:
            continue
        table = np.zeros((len(activations.layers), len(passages)))
        for row, layer in enumerate(activations.layers):
            if layer.pooled is None:
                continue
            states = _normalised(layer.pooled, [index[(n, language)] for n in passages])  # (passages, hidden)
            pivot_states = _normalised(layer.pooled, [index[(n, pivot)] for n in passages])
            cosine = states @ pivot_states.T  # (passages, passages)
            mismatched = (cosine.sum(1) - cosine.diagonal()) / (len(passages) - 1)
            table[row] = cosine.diagonal() - mismatched
        resampled = weights @ table.T / len(passages)
        p_value = (
            permutation_p(table, lambda t: t.mean(1), name=f"alignment:{language}", seed=seed)
            if len(passages) >= MIN_DOCUMENTS
            else 1.0
        )
        result[language] = estimates(table.mean(1), resampled)
        channels[f"alignment:{language}"] = channel(table.mean(1), resampled, p_value, len(passages))
    return result, channels


def _normalised(pooled: torch.Tensor, rows: list[int]) -> np.ndarray:
    """Rows as unit vectors after removing their mean, which all passages share."""
    vectors = pooled[rows].double().cpu().numpy()
    vectors = vectors - vectors.mean(0)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def specific_neurons(activations: Activations) -> list[dict[str, int]]:
    """Neuronal channel (arXiv 2402.16438): neurons of low activation-probability entropy, by layer and language.

    p_k(j) = share of tokens of language k on which neuron j's gate is positive; entropy of p normalised over languages.
    The lowest 1 % over the whole model count for their strongest language, where its p reaches the 95th percentile of
    all p.
    """
    languages = sorted({language for language, _ in activations.cells})
    # (languages, cells) and (languages,)
    member = np.array([[language == name for language, _ in activations.cells] for name in languages], dtype=float)
    tokens = cell_tokens(activations) @ member.T
    if not tokens.any() or len(languages) < 2:
        return [{} for _ in activations.layers]
    shares = [
        None if layer.firing is None else member @ layer.firing.double().cpu().numpy() / tokens[:, None]
        for layer in activations.layers
    ]
    if all(share is None for share in shares):
        return [{} for _ in activations.layers]
    flat = np.concatenate([s for s in shares if s is not None], axis=1)  # (languages, neurons of all layers)
    low_entropy = np.quantile(_entropy(flat), ENTROPY_QUANTILE)
    active = np.quantile(flat, ACTIVE_QUANTILE)
    out = []
    for share in shares:
        if share is None:
            out.append({})
            continue
        chosen = (_entropy(share) <= low_entropy) & (share.max(0) >= active)
        owner = share.argmax(0)
        out.append({k: int(((owner == i) & chosen).sum()) for i, k in enumerate(languages)})
    return out


def cell_tokens(activations: Activations) -> np.ndarray:
    """Tokens read of each (language, domain) cell, in the order of ``activations.cells``."""
    first = next((site for layer in activations.layers for site in layer.sites.values()), None)
    if first is None:
        return np.zeros(len(activations.cells))
    tokens, keys = first.table[:, 0].cpu().numpy(), activations.units.keys
    return np.array([tokens[[key[:2] == cell for key in keys]].sum() for cell in activations.cells])


def probe_distances(activations: Activations, pivot: str = "en") -> list[dict[str, float]]:
    """Per layer 1 - cos(mean h_out over a kind of text, mean h_out over prose): the "probe" of presets v6 and paper.

    Kinds: every domain but prose, against prose in the languages that domain is written in; and ``language:xx``, prose
    in a language against prose in the pivot.
    """
    tokens, cells = cell_tokens(activations), activations.cells
    kinds: dict[str, tuple[list[bool], list[bool]]] = {}
    for domain in sorted({d for _, d in cells} - {"prose"}):
        in_prose = {k for k, d in cells if d == "prose"}
        languages = {k for k, d in cells if d == domain} & in_prose or in_prose
        generic = [d == "prose" and k in languages for k, d in cells]
        kinds[domain] = ([d == domain for _, d in cells], generic)
    for language in sorted({k for k, d in cells if d == "prose"} - {pivot}):
        kinds[f"language:{language}"] = (
            [c == (language, "prose") for c in cells],
            [c == (pivot, "prose") for c in cells],
        )
    out = []
    member = np.array([[key[:2] == cell for key in activations.units.keys] for cell in cells])  # (cells, units)
    for layer in activations.layers:
        distances = {}
        sums = layer.sites["h_out"].by_unit if "h_out" in layer.sites else None
        state = None if sums is None else member @ sums.double().cpu().numpy()  # (cells, hidden)
        for name, sides in kinds.items():
            if state is None or not all(any(side) for side in sides):
                continue
            mean, prose_mean = (state[side].sum(0) / max(tokens[side].sum(), 1.0) for side in sides)  # (hidden,)
            norm = np.linalg.norm(mean) * np.linalg.norm(prose_mean)
            distances[name] = float(1 - mean @ prose_mean / norm) if norm > 0 else 0.0
        out.append(distances)
    return out


def _entropy(share: np.ndarray) -> np.ndarray:
    """Entropy over languages of shares (languages, neurons), (neurons,) in nats."""
    probability = share / np.maximum(share.sum(0), 1e-12)
    return -(probability * np.log(np.maximum(probability, 1e-12))).sum(0)
