"""Channels 4 (causal) and 5: how the loss rises when a layer's FFN, or its mixer, adds only its mean.

Mean ablation replaces the increment f (or m) by its mean over all probe tokens; the rise of NLL per byte is read per
document, so language and domain figures, their intervals and their nulls come from the same forwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri.activations import Activations
from darwin_mri.mri.reliability import MIN_DOCUMENTS, bootstrap_weights, channel, estimates, permutation_p
from darwin_mri.probes import PrefixCache, TokenizedProbes, ablate, document_nll, increment_modules
from darwin_mri.records import Channel, Estimate


class LossCache(Protocol):
    """Losses already measured, by (part, layer), so that an interrupted scan goes on where it was."""

    def get(self, where: tuple[str | int | float, ...]) -> np.ndarray | None:
        """The losses (documents,) stored under this key, None where there are none."""
        ...

    def put(self, where: tuple[str | int | float, ...], values: np.ndarray) -> None:
        """Store the losses (documents,) under this key."""
        ...


@torch.inference_mode()
def ablation_nll(
    parent: LoadedModel,
    activations: Activations,
    part: str,
    *,
    cache: LossCache | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """NLL per document with one layer's FFN or mixer mean-ablated.

    What comes before the layer is not computed again where that is exact (``PrefixCache``).

    Args:
        parent: the model that is ablated.
        activations: its pass over the same probes, which knows the mean increments.
        part: ``f`` (FFN) or ``m`` (mixer).
        cache: read before a layer is measured and written after.
        advance: called with the number of documents done.

    Returns:
        (layers, documents) in nats; the unablated loss where a layer has no such part.
    """
    tokenized, model, anatomy = activations.tokenized, parent.model, parent.anatomy
    out = np.tile(activations.nll, (len(anatomy.layers), 1))
    restarts = PrefixCache(parent, tokenized.batches)
    for info, layer in zip(anatomy.layers, parent.layers, strict=True):
        modules, mean = increment_modules(layer, info, part), activations.mean(info.index, part)  # mean: (hidden,)
        if not modules or mean is None:
            continue
        known = cache.get((part, info.index)) if cache else None
        if known is not None:
            out[info.index] = known
            advance(len(tokenized.probes))
            continue
        nll = torch.zeros(len(tokenized.probes), device=mean.device, dtype=torch.float64)
        with ablate(modules, mean / anatomy.residual_multiplier):
            for number, batch in enumerate(tokenized.batches):
                with restarts.before(number, info.index):
                    nll[batch.documents] = document_nll(model, batch).double()
                advance(len(batch.ids))
        out[info.index] = nll.cpu().numpy()
        if cache:
            cache.put((part, info.index), out[info.index])
    return out


def relative_rise(ablated: np.ndarray, plain: np.ndarray, size: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Relative rise of NLL per byte.

    Args:
        ablated: (layers, documents) NLL with each layer ablated.
        plain: (documents,) NLL of the whole model.
        size: (documents,) bytes.
        weights: (resamples, documents) how often each document is drawn.

    Returns:
        (resamples, layers).
    """
    base = (weights @ plain) / (weights @ size)
    return (weights @ ablated.T) / (weights @ size)[:, None] / base[:, None] - 1


def domain_importance(
    ablated: np.ndarray,
    plain: np.ndarray,
    tokenized: TokenizedProbes,
    resamples: int,
    seed: int,
    name: str = "importance",
) -> tuple[dict[str, list[Estimate]], dict[str, Channel]]:
    """Channel 5: per domain the rise of NLL per byte by layer, with intervals; one channel verdict per domain.

    Args:
        ablated: (layers, documents) NLL with each layer ablated.
        plain: (documents,) NLL of the whole model.
        tokenized: the probes behind both.
        resamples: bootstrap resamples over documents.
        seed: of the resamples and permutations.
        name: of the channels, before the domain.

    Returns:
        Estimates per layer by domain, and channel verdicts by ``name:domain``.
    """
    sizes = tokenized.bytes_read.numpy()
    result: dict[str, list[Estimate]] = {}
    channels: dict[str, Channel] = {}
    for domain in sorted({p.domain for p in tokenized.probes}):
        keep = np.array([p.domain == domain for p in tokenized.probes])
        result[domain], channels[f"{name}:{domain}"] = _estimate(
            f"{name}:{domain}",
            ablated[:, keep],
            plain[keep],
            sizes[keep],
            [p.doc for p in tokenized.probes if p.domain == domain],
            resamples,
            seed,
        )
    return result, channels


def _estimate(
    name: str, ablated: np.ndarray, plain: np.ndarray, sizes: np.ndarray, docs: list[str], resamples: int, seed: int
) -> tuple[list[Estimate], Channel]:
    names = sorted(set(docs))
    # A document in several languages is one unit of resampling.
    member = np.array([[doc == name for doc in docs] for name in names], dtype=float)  # (names, texts)
    # (layers, names), (names,), (names,): a document's texts added up
    ablated, plain, sizes = ablated @ member.T, member @ plain, member @ sizes
    values = relative_rise(ablated, plain, sizes, np.ones((1, len(names))))[0]
    resampled = relative_rise(ablated, plain, sizes, bootstrap_weights(len(names), resamples, seed, name))

    def statistic(table: np.ndarray) -> np.ndarray:
        return table.sum(1)

    p_value = (
        permutation_p((ablated - plain) / plain.sum(), statistic, name=name, seed=seed)
        if len(names) >= MIN_DOCUMENTS
        else 1.0
    )
    return estimates(values, resampled), channel(values, resampled, p_value, len(names))


def language_sensitivity(
    ablated: np.ndarray, plain: np.ndarray, tokenized: TokenizedProbes, resamples: int, seed: int
) -> tuple[dict[str, list[Estimate]], dict[str, list[Estimate]], dict[str, Channel]]:
    """Channel 4, causal, on parallel passages only.

    S_k(l) = relative rise of NLL per byte in language k, minus the mean rise over the other languages; passages are
    resampled as wholes, so every language always sees the same content.

    Args:
        ablated: (layers, documents) NLL with each layer's FFN ablated.
        plain: (documents,) NLL of the whole model.
        tokenized: the probes behind both.
        resamples: bootstrap resamples over passages.
        seed: of the resamples and permutations.

    Returns:
        (sensitivity by language, raw rise by language, channel verdict by language).
    """
    probes, sizes = tokenized.probes, tokenized.bytes_read.numpy()
    languages = sorted({p.language for p in probes if p.pair})
    passages = sorted({p.pair for p in probes if p.pair})
    index = {(p.pair, p.language): i for i, p in enumerate(probes) if p.pair}
    passages = [name for name in passages if all((name, k) in index for k in languages)]
    if not languages or not passages:
        return {}, {}, {}
    rows = {k: np.array([index[(name, k)] for name in passages]) for k in languages}
    weights = np.vstack([np.ones((1, len(passages))), bootstrap_weights(len(passages), resamples, seed, "language")])
    # language -> (1 + resamples, layers); the first row is the plain estimate
    rises = {k: relative_rise(ablated[:, r], plain[r], sizes[r], weights) for k, r in rows.items()}
    sensitivity: dict[str, list[Estimate]] = {}
    raw: dict[str, list[Estimate]] = {}
    channels: dict[str, Channel] = {}
    for k in languages:
        raw[k] = estimates(rises[k][0], rises[k][1:])
        others = [rises[other] for other in languages if other != k]
        if not others:
            continue  # one language alone has nothing to be specific against
        contrast = rises[k] - np.mean(others, axis=0)
        sensitivity[k] = estimates(contrast[0], contrast[1:])
        per_document = _document_contrast(ablated, plain, rows, k)
        p_value = (
            permutation_p(per_document, lambda table: table.mean(1), name=f"language:{k}", seed=seed)
            if len(passages) >= MIN_DOCUMENTS
            else 1.0
        )
        channels[f"language:{k}"] = channel(contrast[0], contrast[1:], p_value, len(passages))
    return sensitivity, raw, channels


def _document_contrast(
    ablated: np.ndarray, plain: np.ndarray, rows: dict[str, np.ndarray], language: str
) -> np.ndarray:
    """Each passage's own contrast, (layers, passages): what the permutation null shuffles over layers."""
    rise = {k: ablated[:, r] / plain[r] - 1 for k, r in rows.items()}
    return rise[language] - np.mean([rise[k] for k in rise if k != language], axis=0)
