"""What the health check measures of a model in memory: its losses, what it writes, and how both parents read that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from darwin_mri import seeds
from darwin_mri.merging.sampling import continue_prompts, opening_prompts, repetition, script_drift
from darwin_mri.probes import Probe, document_nll, require_tokens, tokenize_probes

TEXTS = 8  # probe texts per language
KNOWN = 2.0  # bits per byte of a language a model knows, over those of the language it knows best
NEW_TOKENS = 40
PROMPTS = 16
SAMPLED_TOKENS = 64  # of text a parent samples, for the child to be read on


@dataclass(frozen=True)
class SampledText:
    """Text that a parent wrote by sampling.

    Attributes:
        author: father, mother, ...
        texts: each prompt with its continuation.
        bits: the worst of the parents' losses on them, in bits per byte.
    """

    author: str
    texts: tuple[Probe, ...]
    bits: float


@dataclass(frozen=True)
class ModelFigures:
    """What is measured of the child, and of the father to compare with.

    Attributes:
        tied: whether the head is the embedding.
        bits: language -> bits per byte of a few prose probes.
        repetition: mean share of repeated 4-grams in greedy text; None without a prompt long enough.
        drift: mean share of letters in a script that the prompt did not use; None likewise.
    """

    tied: bool
    bits: Mapping[str, float]
    repetition: float | None
    drift: float | None


def measure_figures(model: Any, tokenizer: Any, probes: Sequence[Probe], prompts: Sequence[str]) -> ModelFigures:
    """Measure one model.

    Args:
        model: on the device it is read on.
        tokenizer: the father's, for the child too.
        probes: probe texts; those of the domain prose are read.
        prompts: continued greedily.

    Returns:
        The figures.
    """
    written = continue_prompts(model, tokenizer, prompts, NEW_TOKENS)
    repeated, drift = None, None
    if written:
        repeated = sum(repetition(text) for _, text in written) / len(written)
        drift = sum(script_drift(prompt, text) for prompt, text in written) / len(written)
    return ModelFigures(has_tied_head(model), losses_by_language(model, tokenizer, probes), repeated, drift)


def has_tied_head(model: Any) -> bool:
    """Whether the head shares the embedding's memory."""
    head = model.get_output_embeddings()
    return head is not None and head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


def known_prompts(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> list[str]:
    """Prompts in the languages a model knows, as its losses tell: in the others it loops and drifts by nature.

    Args:
        model: a parent.
        tokenizer: the model's.
        probes: whose prose gives the losses and the prompts.

    Returns:
        Texts; their beginnings are continued.
    """
    losses = losses_by_language(model, tokenizer, probes)
    limit = KNOWN * min(losses.values(), default=0.0)
    known = [probe for probe in probes if losses.get(probe.language, math.inf) <= limit]
    return opening_prompts(known, PROMPTS)


def sample_texts(author: str, model: Any, tokenizer: Any, probes: Sequence[Probe], seed: int) -> tuple[Probe, ...]:
    """What a parent writes on prompts in the languages it knows.

    Args:
        author: the parent's role, which names the texts.
        model: the parent.
        tokenizer: the parent's.
        probes: whose beginnings are the prompts.
        seed: of the sampling.

    Returns:
        Texts with their prompts; blank ones are left out.
    """
    prompts = known_prompts(model, tokenizer, probes)
    written = continue_prompts(model, tokenizer, prompts, SAMPLED_TOKENS, seeds.integer(seed, "sampled text", author))
    return tuple(
        Probe(prompt + continuation, "und", "prose", f"{author}-{i}")
        for i, (prompt, continuation) in enumerate(written)
        if (prompt + continuation).strip()
    )


@torch.inference_mode()
def bits_per_byte(model: Any, tokenizer: Any, texts: Sequence[Probe]) -> float | None:
    """Mean loss over texts in bits per byte of UTF-8; None where none of them has two tokens.

    Args:
        model: reads them.
        tokenizer: the model's.
        texts: n texts.

    Returns:
        Bits per byte.
    """
    tokenized = tokenize_probes(texts, tokenizer, max_tokens=128, device=str(next(model.parameters()).device))
    if not tokenized.probes:
        return None
    require_tokens(model, (*tokenized.ids, tokenized.prefix))
    nats = sum(float(document_nll(model, batch).sum()) for batch in tokenized.batches)
    return nats / float(tokenized.bytes_read.sum()) / math.log(2)


def losses_by_language(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> dict[str, float]:
    """Bits per byte of a few prose probes of each language.

    Args:
        model: reads them.
        tokenizer: the model's.
        probes: of any domain.

    Returns:
        Language -> bits per byte.
    """
    losses = {}
    prose = [probe for probe in probes if probe.domain == "prose"]
    for language in sorted({probe.language for probe in prose}):
        bits = bits_per_byte(model, tokenizer, [probe for probe in prose if probe.language == language][:TEXTS])
        if bits is not None:
            losses[language] = bits
    return losses
