"""The health check: does the child still work as a model, whatever its scores say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.merging.blocks import blocks
from darwin_mri.merging.child import other_files
from darwin_mri.merging.speech import opening_prompts, repetition, script_drift, write_on
from darwin_mri.probes import Probe, document_nll, read, require_tokens
from darwin_mri.records import Health, HealthGate

NORM_RANGE = (0.5, 2.0)  # a changed tensor's norm over the father's
NLL_RISE = 1.25  # the child's bits per byte over the worse parent's
# Mean share of repeated 4-grams in greedy text. Calibrated on nursery children (docs/LOG.md): sound ones reach 0.28, broken ones
# start at 0.59; where the father loops more than that himself, his own share counts.
LOOPING = 0.45
REPETITION = 1.5
DRIFT = 1.5  # the child's share of letters in an unasked script over the father's, plus SLACK
SLACK = 0.15
TEXTS = 8  # per language
SPOKEN = 2.0  # bits per byte of a language a model knows, over those of the one it knows best
NEW_TOKENS = 40
PROMPTS = 16
VOICE_TOKENS = 64  # of text a parent samples, for the child to be read on


@dataclass(frozen=True)
class Voice:
    """Text a parent wrote by sampling, and how both parents read it, in bits per byte. ``whose``: father or mother."""

    whose: str
    texts: tuple[Probe, ...]
    father_bits: float
    mother_bits: float


def check_child(
    child_folder: Path,
    father_folder: Path,
    child: Any,
    father: Any,
    tokenizer: Any,
    probes: Sequence[Probe],
    *,
    expect_change: bool,
    mother_bits: Mapping[str, float] | None = None,
    voices: Sequence[Voice] = (),
) -> Health:
    """Run every gate.

    Args:
        child, father: loaded models on one device; tokenizer: the father's.
        probes: probe texts; those of the domain prose give NLL by language, and prompts for greedy text.
        expect_change: whether the genome moves any tensor.
        mother_bits: the mother's bits per byte by language; a child need not be better at a language than its worse parent.
        voices: what the parents wrote themselves.
    """
    gates = _weights(child_folder, father_folder, expect_change)
    gates.append(_files(child_folder, father_folder))
    gates.append(_tied_head(child, father))
    gates += _likelihood(child, father, tokenizer, probes, mother_bits or {})
    gates += [_on_voice(child, tokenizer, voice) for voice in voices]
    gates += _greedy(child, father, tokenizer, probes)
    return Health(passed=all(gate.passed for gate in gates), gates=tuple(gates))


def listen(
    father: Any, father_tokenizer: Any, mother: Any, mother_tokenizer: Any, probes: Sequence[Probe], seed: int
) -> list[Voice]:
    """What each parent writes on the prompts, and how both read it; the mother is not needed afterwards."""
    voices = []
    for whose, model, tokenizer in (("father", father, father_tokenizer), ("mother", mother, mother_tokenizer)):
        prompts = opening_prompts(spoken(model, tokenizer, probes), PROMPTS)
        said = write_on(model, tokenizer, prompts, VOICE_TOKENS, seed)
        texts = tuple(
            Probe(prompt + more, "und", "prose", f"{whose}-{i}")
            for i, (prompt, more) in enumerate(said)
            if (prompt + more).strip()
        )
        bits = [bits_per_byte(m, t, texts) for m, t in ((father, father_tokenizer), (mother, mother_tokenizer))]
        if texts and None not in bits:
            voices.append(Voice(whose, texts, float(bits[0] or 0), float(bits[1] or 0)))
    return voices


@torch.inference_mode()
def bits_per_byte(model: Any, tokenizer: Any, texts: Sequence[Probe]) -> float | None:
    """Mean loss over the texts in bits per byte of UTF-8; None where none of them has two tokens."""
    reading = read(texts, tokenizer, max_tokens=128, device=str(next(model.parameters()).device))
    if not reading.probes:
        return None
    require_tokens(model, (*reading.ids, reading.prefix))
    nats = sum(float(document_nll(model, batch).sum()) for batch in reading.batches)
    return nats / float(reading.bytes_read.sum()) / math.log(2)


def losses_by_language(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> dict[str, float]:
    """Bits per byte of a few prose probes of each language."""
    found = {}
    prose = [probe for probe in probes if probe.domain == "prose"]
    for language in sorted({probe.language for probe in prose}):
        bits = bits_per_byte(model, tokenizer, [probe for probe in prose if probe.language == language][:TEXTS])
        if bits is not None:
            found[language] = bits
    return found


def spoken(model: Any, tokenizer: Any, probes: Sequence[Probe]) -> list[Probe]:
    """Prose probes in the languages a model knows, as its losses tell: in the others it loops and drifts by nature."""
    losses = losses_by_language(model, tokenizer, probes)
    limit = SPOKEN * min(losses.values(), default=0.0)
    return [probe for probe in probes if probe.domain == "prose" and losses.get(probe.language, math.inf) <= limit]


def _weights(child_folder: Path, father_folder: Path, expect_change: bool) -> list[HealthGate]:
    changed, odd, infinite, shaped = 0, [], [], []
    child, father = CheckpointReader(child_folder), CheckpointReader(father_folder)
    missing = sorted(set(father.names()) ^ set(child.names()))
    for name in father.names():
        if name in missing:
            continue
        if child.shape(name) != father.shape(name) or child.dtype(name) != father.dtype(name):
            shaped.append(name)
            continue
        finite, same, ratio = _compared(child.tensor(name), father.tensor(name))
        if not finite:
            infinite.append(name)
        elif not same:
            changed += 1
            if not NORM_RANGE[0] <= ratio <= NORM_RANGE[1]:
                odd.append(f"{name} {ratio:.2f}")
    total = len(father.names())
    return [
        HealthGate(name="tensor names", passed=not missing, value=len(missing), limit="0 differ", note=_first(missing)),
        HealthGate(name="shapes and dtypes", passed=not shaped, value=len(shaped), limit="0 differ", note=_first(shaped)),
        HealthGate(name="finite weights", passed=not infinite, value=len(infinite), limit="0 tensors not", note=_first(infinite)),
        HealthGate(
            name="tensors changed", passed=(changed > 0) == expect_change, value=changed,
            limit=f"> 0 of {total}" if expect_change else "0, as the genome says",
        ),
        HealthGate(
            name="norm ratios", passed=not odd, value=len(odd), limit=f"0 outside [{NORM_RANGE[0]}, {NORM_RANGE[1]}]", note=_first(odd),
        ),
    ]  # fmt: skip


def _compared(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[bool, bool, float]:
    """Whether ours is finite, whether it equals theirs, and the ratio of their norms; by blocks, as a table of a real model is gigabytes."""
    finite, same, ours_square, theirs_square = True, torch.equal(ours, theirs), 0.0, 0.0
    for mine, other in blocks(ours, theirs):
        finite = finite and bool(torch.isfinite(mine).all())
        ours_square += float(torch.linalg.vector_norm(mine)) ** 2
        theirs_square += float(torch.linalg.vector_norm(other)) ** 2
    return finite, same, (ours_square / theirs_square) ** 0.5 if theirs_square > 0 else 1.0


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _files(child_folder: Path, father_folder: Path) -> HealthGate:
    """Configuration, tokenizer and templates, which a child takes over byte for byte."""
    shards = CheckpointReader(father_folder).shards()
    differ = []
    for name in other_files(father_folder, shards):
        theirs, ours = father_folder / name, child_folder / name
        if not ours.is_file() or ours.read_bytes() != theirs.read_bytes():
            differ.append(name)
    return HealthGate(
        name="configuration and tokenizer",
        passed=not differ,
        value=len(differ),
        limit="0 files differ",
        note=_first(differ),
    )


def _tied_head(child: Any, father: Any) -> HealthGate:
    def tied(model: Any) -> bool:
        head = model.get_output_embeddings()
        return head is not None and head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()

    same = tied(child) == tied(father)
    return HealthGate(name="tied head", passed=same, value="tied" if tied(child) else "untied", limit="as the father's")


def _likelihood(
    child: Any, father: Any, tokenizer: Any, probes: Sequence[Probe], mother_bits: Mapping[str, float]
) -> list[HealthGate]:
    ours, theirs = (losses_by_language(model, tokenizer, probes) for model in (child, father))
    return [
        _no_worse(f"bits per byte, {language}", ours[language], max(bits, mother_bits.get(language, 0.0)))
        for language, bits in theirs.items()
    ]


def _on_voice(child: Any, tokenizer: Any, voice: Voice) -> HealthGate:
    bits = bits_per_byte(child, tokenizer, voice.texts)
    worse = max(voice.father_bits, voice.mother_bits)
    return _no_worse(f"bits per byte, text the {voice.whose} wrote", math.inf if bits is None else bits, worse)


def _no_worse(name: str, bits: float, worse: float) -> HealthGate:
    return HealthGate(
        name=name, passed=bits <= NLL_RISE * worse, value=round(bits, 3) if math.isfinite(bits) else "not finite",
        limit=f"<= {NLL_RISE} x the worse parent's {worse:.3f}",
    )  # fmt: skip


def _greedy(child: Any, father: Any, tokenizer: Any, probes: Sequence[Probe]) -> list[HealthGate]:
    prompts = opening_prompts(spoken(father, tokenizer, probes), PROMPTS)
    figures = []
    for model in (child, father):
        said = write_on(model, tokenizer, prompts, NEW_TOKENS)
        if not said:
            return []
        repeated = sum(repetition(text) for _, text in said) / len(said)
        drift = sum(script_drift(prompt, text) for prompt, text in said) / len(said)
        figures.append((repeated, drift))
    (repeated, drift), (father_repeated, father_drift) = figures
    loops, strays = max(LOOPING, REPETITION * father_repeated), DRIFT * father_drift + SLACK
    return [
        HealthGate(
            name="repetition in greedy text", passed=repeated <= loops, value=round(repeated, 3),
            limit=f"<= {LOOPING}, or {REPETITION} x the father's {father_repeated:.3f}",
        ),
        HealthGate(
            name="language drift in greedy text", passed=drift <= strays, value=round(drift, 3),
            limit=f"<= {DRIFT} x the father's {father_drift:.3f} + {SLACK}",
        ),
    ]  # fmt: skip
