"""Channel 8: the tokens that a mean difference of activations promotes and suppresses through the output head.

Of one model the difference is that of an FFN's increment between a group of texts (a language, a domain, a topic) and
the others. Of siblings it is the other parent's value minus the father's on the same tokens: of the FFN's increment
(``f``), of the stream after the layer (``h_out``), and of that stream at the last token of each text (``end``), where a
prompt's answer would follow. That is the activation difference lens (Minder et al. 2025, arXiv 2510.13900), read by the
logit lens rather than by the paper's patchscope and steering.

With the documents' mean vectors v_d of a layer, a difference is sum_d a_d v_d: a is the observed contrast, resampled
ones give intervals and reliability, and contrasts that know nothing of the texts give the null (of one model: groups
dealt anew among documents; of siblings: the sign of each document's difference drawn anew). Sizes are measured in
logits, |x| = standard deviation over the vocabulary, so that a Gram matrix over documents is all that they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from darwin_mri import seeds
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.mri.activations import Activations
from darwin_mri.mri.readout import NoReadoutError, Readout, find_readout, token_text
from darwin_mri.mri.reliability import bootstrap_weights, verdict
from darwin_mri.mri.sums import BUCKETS, KINDS, Units
from darwin_mri.records import Channel, Estimate, Word, Words

SHOWN = 10  # tokens promoted, and as many suppressed
PERMUTATIONS = 200
DIGITS = 5

Vectors = dict[int, torch.Tensor]
"""Layer -> the mean of a site over each unit's tokens, (units, hidden)."""


@dataclass(frozen=True)
class Contrast:
    """Weights of the units in a difference.

    Attributes:
        documents: how many documents the group has.
        observed: (units,).
        resampled: (resamples, units), documents drawn with replacement.
        null: (permutations, units), without what the contrast is about.
    """

    documents: int
    observed: np.ndarray
    resampled: np.ndarray
    null: np.ndarray


def model_words(
    parent: LoadedModel, activations: Activations, resamples: int, seed: int
) -> tuple[list[dict[str, Words]], dict[str, Channel]]:
    """What each FFN writes more on one group of texts than on the others.

    A group is compared with texts that differ from it in nothing else where there are such: a language with others in
    its domains, a domain with others in its languages.

    Args:
        parent: the model, for its head and tokenizer.
        activations: the one pass.
        resamples: bootstrap resamples over documents.
        seed: of the resamples and permutations.

    Returns:
        Words per layer by group, of the groups with a signal; and a verdict by ``words:group``.
    """
    units = activations.units
    vectors = {layer: values - values.mean(0) for layer, values in unit_means(activations, "f").items()}
    contrasts = {}
    for name in (*units.groups()[1:], *units.topics()):
        contrast = _against_others(units, name, resamples, seed)
        if contrast is not None:
            contrasts[name] = contrast
    states = unit_means(activations, "h_out")[len(activations.layers) - 1]
    words, channels = _read(parent, states, vectors, contrasts)
    return [words.get(layer, {}) for layer in range(len(activations.layers))], {
        f"words:{name}": channel for name, channel in channels.items()
    }


def sibling_words(
    father: LoadedModel, own: Activations, other: Activations, resamples: int, seed: int
) -> tuple[dict[str, list[dict[str, Words]]], dict[str, Channel]]:
    """What the other parent's layers write that the father's do not, on the same tokens.

    Args:
        father: for its head and tokenizer.
        own: the father's pass.
        other: the other parent's.
        resamples: bootstrap resamples over documents.
        seed: of the resamples and sign flips.

    Returns:
        Site -> words per layer by group, of the groups with a signal; and a verdict by ``words:site:group``. Empty
        where the parents do not read the same tokens, or differ in layers or width.
    """
    found: dict[str, list[dict[str, Words]]] = {}
    channels: dict[str, Channel] = {}
    if own.tokenized.ids != other.tokenized.ids or len(own.layers) != len(other.layers):
        return found, channels
    units = own.units
    for site in ("f", "h_out", "end"):
        left, right = unit_means(own, site), unit_means(other, site)
        states = unit_means(own, "end" if site == "end" else "h_out")[len(own.layers) - 1]
        vectors = {
            layer: right[layer] - left[layer]
            for layer in left
            if layer in right and right[layer].shape == left[layer].shape
        }
        names = (*units.groups(), *units.topics())
        contrasts = {name: _of_signs(units, name, resamples, seed) for name in names}
        words, verdicts = _read(father, states, vectors, contrasts)
        found[site] = [words.get(layer, {}) for layer in range(len(own.layers))]
        channels |= {f"words:{site}:{name}": channel for name, channel in verdicts.items()}
    return found, channels


def unit_means(activations: Activations, site: str) -> Vectors:
    """The mean of a site over each unit's tokens, by layer; layers without the site are left out.

    Args:
        activations: the one pass.
        site: ``f``, ``h_out``, or ``end``: h_out at the last token of each text.
    """
    out = {}
    texts = torch.tensor(activations.units.row).bincount(minlength=len(activations.units.keys))
    for index, layer in enumerate(activations.layers):
        if site == "end" and layer.ends is not None:
            out[index] = layer.ends.cpu() / texts[:, None]
        sums = layer.sites.get(site)
        if sums is not None and sums.by_unit is not None:
            out[index] = (sums.by_unit / sums.table[:, :1].clamp_min(1).to(sums.by_unit)).float().cpu()
    return out


def _against_others(units: Units, group: str, resamples: int, seed: int) -> Contrast | None:
    """A group against the rest; None where there is no rest."""
    inside = units.select(group)
    outside = ~inside
    kind = KINDS.index(group.partition(":")[0])
    if kind < 2:
        crossed = [key[1 - kind] for key in units.keys]
        shared = np.isin(crossed, [name for name, member in zip(crossed, inside, strict=True) if member])
        outside = outside & shared if (outside & shared).any() else outside
    if not inside.any() or not outside.any():
        return None
    weights = bootstrap_weights(BUCKETS, resamples, seed, f"words:{group}")[:, units.buckets]
    rng, taking_part = seeds.named(seed, "permutation", "words", group), np.flatnonzero(inside | outside)
    dealt = np.zeros((PERMUTATIONS, len(inside)), dtype=bool)
    for row in dealt:
        row[rng.permutation(taking_part)[: inside.sum()]] = True
    part = inside | outside
    return Contrast(
        documents=len(set(units.buckets[inside])),
        observed=_shares(inside[None] * 1.0)[0] - _shares(outside[None] * 1.0)[0],
        resampled=_shares(weights * inside) - _shares(weights * outside),
        null=_shares(dealt * 1.0) - _shares((part & ~dealt) * 1.0),
    )


def _of_signs(units: Units, group: str, resamples: int, seed: int) -> Contrast:
    """The mean over a group, of differences whose sign the null draws anew for each document."""
    inside, buckets = units.select(group), units.buckets
    weights = bootstrap_weights(BUCKETS, resamples, seed, f"words:{group}")[:, buckets]
    signs = seeds.named(seed, "permutation", "words", "signs", group).choice([-1.0, 1.0], (PERMUTATIONS, BUCKETS))
    observed = _shares(inside[None] * 1.0)[0]
    return Contrast(len(set(buckets[inside])), observed, _shares(weights * inside), observed * signs[:, buckets])


def _shares(weights: np.ndarray) -> np.ndarray:
    """Rows that add up to 1; a row of zeros, a resample without the group, stays."""
    return weights / np.maximum(weights.sum(-1, keepdims=True), 1.0)


def _read(
    parent: LoadedModel, states: torch.Tensor, vectors: Vectors, contrasts: dict[str, Contrast]
) -> tuple[dict[int, dict[str, Words]], dict[str, Channel]]:
    """Words per layer by group, and verdicts by group; states (units, hidden) are those that the head reads."""
    if not vectors or not contrasts:
        return {}, {}
    try:
        readout = find_readout(parent, states.mean(0), float(states.square().mean(1).sqrt().mean()))
    except NoReadoutError as error:
        silent = Channel(reliability=0.0, p_value=1.0, informative=False, note=f"no words: {error}")
        return {}, dict.fromkeys(contrasts, silent)
    grams = {layer: _gram(readout, values) for layer, values in vectors.items()}
    measured = {name: _measure(grams, contrast) for name, contrast in contrasts.items()}
    channels = {
        name: verdict(
            float(np.mean([layer.reliability for layer in own.layers.values()])), own.p_value, contrasts[name].documents
        )
        for name, own in measured.items()
    }
    telling = [name for name in contrasts if channels[name].informative]
    shown = readout.plausible(states.to(readout.gain.device))
    words: dict[int, dict[str, Words]] = {}
    for layer, values in vectors.items():
        found = _tokens((readout, shown, parent.tokenizer), values, [contrasts[name] for name in telling])
        words[layer] = {
            name: measured[name].layers[layer].model_copy(update={"promoted": up, "suppressed": down})
            for name, (up, down) in zip(telling, found, strict=True)
        }
    return words, channels


@dataclass(frozen=True)
class _Measured:
    layers: dict[int, Words]
    p_value: float


def _gram(readout: Readout, values: torch.Tensor) -> np.ndarray:
    """(units, units): covariances over the vocabulary of the logits of the units' vectors."""
    scaled = readout.scaled(values.to(readout.gain.device))
    return (scaled @ readout.metric @ scaled.T).double().cpu().numpy()


def _measure(grams: dict[int, np.ndarray], contrast: Contrast) -> _Measured:
    """Size, reliability and p-value of a difference, in each layer and in all."""
    layers, nulls, observed = {}, [], []
    for layer, gram in grams.items():
        scale = max(float(np.trace(gram)) / len(gram), 1e-30)
        size = _size(contrast.observed, gram)
        resampled = _size(contrast.resampled, gram)
        noise = float(_size(contrast.resampled - contrast.observed, gram).mean())
        null = _size(contrast.null, gram)
        reliability = float(np.clip(1 - noise / size, 0, 1)) if size > 1e-12 * scale and size > 1e-20 else 0.0
        low, high = np.percentile(np.sqrt(resampled), [2.5, 97.5])
        value = float(np.sqrt(size))
        layers[layer] = Words(
            strength=_estimate(value, low, high), reliability=round(reliability, DIGITS), p_value=_p(size, null)
        )
        observed.append(size / scale)
        nulls.append(null / scale)
    return _Measured(layers, _p(np.mean(observed), np.mean(nulls, axis=0)))


def _size(contrasts: np.ndarray, gram: np.ndarray) -> Any:
    """Squared size of differences, of contrasts (..., units)."""
    return np.maximum(((contrasts @ gram) * contrasts).sum(-1), 0.0)


def _p(observed: Any, null: np.ndarray) -> float:
    """Share of the null, the observed one among it, that reaches the observed one."""
    return float((1 + (null >= observed * (1 - 1e-9)).sum()) / (1 + len(null)))


def _tokens(
    vocabulary: tuple[Readout, torch.Tensor, Any], values: torch.Tensor, contrasts: Sequence[Contrast]
) -> list[tuple[tuple[Word, ...], tuple[Word, ...]]]:
    """Per contrast the tokens promoted and suppressed most, with intervals.

    Args:
        vocabulary: the readout, which tokens may be shown, and the tokenizer.
        values: (units, hidden).
        contrasts: of the units.
    """
    if not contrasts:
        return []
    readout, shown, tokenizer = vocabulary
    device = readout.gain.device
    weights = torch.as_tensor(np.stack([c.observed for c in contrasts]), dtype=torch.float32)
    logits = readout.logits((weights @ values).to(device))  # (contrasts, vocabulary)
    most = min(SHOWN, int(shown.sum()) // 2)
    never = torch.tensor(float("inf"), device=device)
    up, down = torch.where(shown, logits, -never), torch.where(shown, logits, never)
    best = torch.cat([up.topk(most).indices, down.topk(most, largest=False).indices], dim=1)
    out = []
    for row, (ids, contrast) in enumerate(zip(best, contrasts, strict=True)):
        by_unit = readout.of_tokens(values.to(device), ids).double().cpu().numpy()  # (units, tokens)
        low, high = np.percentile(contrast.resampled @ by_unit, [2.5, 97.5], axis=0)
        words = [
            Word(token=token_text(tokenizer, int(number)), shift=_estimate(float(logits[row, number]), low[i], high[i]))
            for i, number in enumerate(ids)
        ]
        out.append((tuple(words[:most]), tuple(words[most:])))
    return out


def _estimate(value: float, low: float, high: float) -> Estimate:
    bounds = (value, min(low, value), max(high, value))
    return Estimate(**{k: round(float(v), DIGITS) for k, v in zip(("value", "low", "high"), bounds, strict=True)})
