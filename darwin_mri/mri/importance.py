"""Channels 4 (causal) and 5: how the loss rises when a layer's FFN, or its mixer, adds only its mean.

Mean ablation replaces the increment f (or m) by its mean over all probe tokens; the rise of NLL per byte is read per
document, so language and domain figures, their intervals and their nulls come from the same forwards. Where some
documents' losses are estimated, intervals are as much wider, and nulls are drawn with as much noise, as that is unsure.
"""

from __future__ import annotations

import numpy as np

from darwin_mri import seeds
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights, channel, estimates, permutation_p
from darwin_mri.mri.scan_ablation import Ablated
from darwin_mri.probes import TokenizedProbes
from darwin_mri.records import Channel, Estimate


def relative_rise(
    ablated: Ablated, plain: np.ndarray, weights: np.ndarray, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Relative rise of NLL, which is that of NLL per byte.

    Args:
        ablated: losses with each layer ablated.
        plain: (documents,) NLL of the whole model.
        weights: (resamples, documents) how often each document is drawn.
        rng: draws the errors of estimated losses; none are added when absent.

    Returns:
        (resamples, layers).
    """
    base = (weights @ plain)[:, None]
    rise = weights @ ablated.nll.T / base - 1
    if rng is None:
        return rise
    return rise + rng.standard_normal(rise.shape) * np.sqrt(ablated.error_variance(weights)) / base


def domain_importance(
    ablated: Ablated,
    plain: np.ndarray,
    tokenized: TokenizedProbes,
    resamples: int,
    seed: int,
    name: str = "importance",
) -> tuple[dict[str, list[Estimate]], dict[str, Channel]]:
    """Channel 5: per domain the rise of NLL per byte by layer, with intervals; one channel verdict per domain.

    Args:
        ablated: losses with each layer ablated.
        plain: (documents,) NLL of the whole model.
        tokenized: the probes behind both.
        resamples: bootstrap resamples over documents.
        seed: of the resamples and permutations.
        name: of the channels, before the domain.

    Returns:
        Estimates per layer by domain, and channel verdicts by ``name:domain``.
    """
    probes = tokenized.probes
    result: dict[str, list[Estimate]] = {}
    channels: dict[str, Channel] = {}
    for domain in sorted({p.domain for p in probes}):
        key = f"{name}:{domain}"
        names = sorted({p.doc for p in probes if p.domain == domain})
        # A document in several languages is one unit of resampling.
        member = np.array([[p.domain == domain and p.doc == doc for p in probes] for doc in names], dtype=float)
        drawn = bootstrap_weights(len(names), resamples, seed, key) @ member  # (resamples, texts)
        values = relative_rise(ablated, plain, member.sum(0, keepdims=True))[0]
        resampled = relative_rise(ablated, plain, drawn, seeds.named(seed, "ablation error", key))
        p_value = 1.0
        if len(names) >= MIN_DOCUMENTS:
            table = (ablated.draw(seed, key) - plain) @ member.T / (member @ plain).sum()
            p_value = permutation_p(table, lambda rises: rises.sum(1), name=key, seed=seed)
        result[domain] = estimates(values, resampled)
        channels[key] = channel(values, resampled, p_value, len(names))
    return result, channels


def language_sensitivity(
    ablated: Ablated, plain: np.ndarray, tokenized: TokenizedProbes, resamples: int, seed: int
) -> tuple[dict[str, list[Estimate]], dict[str, list[Estimate]], dict[str, Channel]]:
    """Channel 4, causal, on parallel passages only.

    S_k(l) = relative rise of NLL per byte in language k, minus the mean rise over the other languages; passages are
    resampled as wholes, so every language always sees the same content.

    Args:
        ablated: losses with each layer's FFN ablated.
        plain: (documents,) NLL of the whole model.
        tokenized: the probes behind both.
        resamples: bootstrap resamples over passages.
        seed: of the resamples and permutations.

    Returns:
        (sensitivity by language, raw rise by language, channel verdict by language).
    """
    probes = tokenized.probes
    languages = sorted({p.language for p in probes if p.pair})
    passages = sorted({p.pair for p in probes if p.pair})
    index = {(p.pair, p.language): i for i, p in enumerate(probes) if p.pair}
    passages = [name for name in passages if all((name, k) in index for k in languages)]
    if not languages or not passages:
        return {}, {}, {}
    rows = {k: [index[(name, k)] for name in passages] for k in languages}
    drawn = bootstrap_weights(len(passages), resamples, seed, "language")
    # language -> (layers,) and (resamples, layers)
    rises: dict[str, np.ndarray] = {}
    resampled: dict[str, np.ndarray] = {}
    for k in languages:
        weights = np.zeros((resamples, len(probes)))
        weights[:, rows[k]] = drawn
        once = np.zeros((1, len(probes)))
        once[0, rows[k]] = 1.0
        rises[k] = relative_rise(ablated, plain, once)[0]
        resampled[k] = relative_rise(ablated, plain, weights, seeds.named(seed, "ablation error", f"language:{k}"))
    sensitivity: dict[str, list[Estimate]] = {}
    channels: dict[str, Channel] = {}
    table = ablated.draw(seed, "language")
    for k in languages:
        others = [other for other in languages if other != k]
        if not others:
            continue  # one language alone has nothing to be specific against
        contrast = rises[k] - np.mean([rises[other] for other in others], axis=0)
        spread = resampled[k] - np.mean([resampled[other] for other in others], axis=0)
        sensitivity[k] = estimates(contrast, spread)
        per_document = _document_contrast(table, plain, rows, k)
        p_value = (
            permutation_p(per_document, lambda rises: rises.mean(1), name=f"language:{k}", seed=seed)
            if len(passages) >= MIN_DOCUMENTS
            else 1.0
        )
        channels[f"language:{k}"] = channel(contrast, spread, p_value, len(passages))
    return sensitivity, {k: estimates(rises[k], resampled[k]) for k in languages}, channels


def _document_contrast(ablated: np.ndarray, plain: np.ndarray, rows: dict[str, list[int]], language: str) -> np.ndarray:
    """Each passage's own contrast, (layers, passages): what the permutation null shuffles over layers."""
    rise = {k: ablated[:, r] / plain[r] - 1 for k, r in rows.items()}
    return rise[language] - np.mean([rise[k] for k in rise if k != language], axis=0)
