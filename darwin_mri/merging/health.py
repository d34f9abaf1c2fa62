"""The health check: does the child still work as a model, whatever its scores say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.probes import Probe, document_nll, prefix_tokens, read
from darwin_mri.records import Health, HealthGate

NORM_RANGE = (0.5, 2.0)  # a changed tensor's norm over the father's
NLL_RISE = 1.25  # the child's bits per byte over the worse parent's, per language
REPETITION = 1.5  # the child's share of repeated 4-grams over the father's, plus SLACK
DRIFT = 1.5  # likewise for characters outside the prompt's script
SLACK = 0.15
LOOPING = 0.4  # share of repeated 4-grams allowed whatever the father's; a judgement, not yet calibrated (docs/LOG.md)
NEW_TOKENS = 40
PROMPTS = 6


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
) -> Health:
    """Run every gate.

    Args:
        child, father: loaded models on one device; tokenizer: the father's.
        probes: probe texts; those of the domain prose give NLL by language, and prompts for greedy text.
        expect_change: whether the genome moves any tensor.
        mother_bits: the mother's bits per byte by language; a child need not be better at a language than its worse parent.
    """
    gates = _weights(child_folder, father_folder, expect_change)
    gates.append(_tied_head(child, father))
    gates += _likelihood(child, father, tokenizer, probes, mother_bits or {})
    gates += _greedy(child, father, tokenizer, probes)
    return Health(passed=all(gate.passed for gate in gates), gates=tuple(gates))


def _weights(child_folder: Path, father_folder: Path, expect_change: bool) -> list[HealthGate]:
    changed, odd, infinite = 0, [], []
    with CheckpointReader(child_folder) as child, CheckpointReader(father_folder) as father:
        missing = sorted(set(father.names()) ^ set(child.names()))
        for name in father.names():
            if name in missing:
                continue
            ours, theirs = child.tensor(name), father.tensor(name)
            if not bool(torch.isfinite(ours.float()).all()):
                infinite.append(name)
            elif not torch.equal(ours, theirs):
                changed += 1
                before = float(theirs.float().norm())
                ratio = float(ours.float().norm()) / before if before > 0 else 1.0
                if not NORM_RANGE[0] <= ratio <= NORM_RANGE[1]:
                    odd.append(f"{name} {ratio:.2f}")
        total = len(father.names())
    return [
        HealthGate(name="tensor names", passed=not missing, value=len(missing), limit="0 differ", note=", ".join(missing[:3])),
        HealthGate(name="finite weights", passed=not infinite, value=len(infinite), limit="0 tensors", note=", ".join(infinite[:3])),
        HealthGate(
            name="tensors changed", passed=(changed > 0) == expect_change, value=changed,
            limit=f"> 0 of {total}" if expect_change else "0, as the genome says",
        ),
        HealthGate(
            name="norm ratios", passed=not odd, value=len(odd), limit=f"0 outside [{NORM_RANGE[0]}, {NORM_RANGE[1]}]",
            note=", ".join(odd[:3]),
        ),
    ]  # fmt: skip


def _tied_head(child: Any, father: Any) -> HealthGate:
    def tied(model: Any) -> bool:
        head = model.get_output_embeddings()
        return head is not None and head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()

    same = tied(child) == tied(father)
    return HealthGate(name="tied head", passed=same, value="tied" if tied(child) else "untied", limit="as the father's")


@torch.inference_mode()
def _likelihood(
    child: Any, father: Any, tokenizer: Any, probes: Sequence[Probe], mother_bits: Mapping[str, float]
) -> list[HealthGate]:
    prose = [probe for probe in probes if probe.domain == "prose"]
    gates = []
    for language in sorted({probe.language for probe in prose}):
        texts = [probe for probe in prose if probe.language == language][:8]
        reading = read(texts, tokenizer, max_tokens=128, device=str(next(father.parameters()).device))
        child_bits, father_bits = (
            sum(float(document_nll(model, batch).sum()) for batch in reading.batches)
            / float(reading.bytes_read.sum())
            / math.log(2)
            for model in (child, father)
        )
        worse = max(father_bits, mother_bits.get(language, 0.0))
        gates.append(
            HealthGate(
                name=f"bits per byte, {language}",
                passed=child_bits <= NLL_RISE * worse,
                value=round(child_bits, 3),
                limit=f"<= {NLL_RISE} x the worse parent's {worse:.3f}",
            )
        )
    return gates


@torch.inference_mode()
def _greedy(child: Any, father: Any, tokenizer: Any, probes: Sequence[Probe]) -> list[HealthGate]:
    prompts = [p.text for p in probes if p.domain == "prose" and p.language in ("ko", "en")][: 2 * PROMPTS : 2]
    if not prompts:
        return []
    figures = []
    for model in (child, father):
        texts = [_complete(model, tokenizer, prompt) for prompt in prompts]
        repeated = sum(repetition(text) for text in texts) / len(texts)
        drift = sum(script_drift(prompt, text) for prompt, text in zip(prompts, texts, strict=True)) / len(texts)
        figures.append((repeated, drift))
    (repeated, drift), (father_repeated, father_drift) = figures
    return [
        HealthGate(
            name="repetition in greedy text", passed=repeated <= max(LOOPING, REPETITION * father_repeated + SLACK), value=round(repeated, 3),
            limit=f"<= {LOOPING}, or {REPETITION} x father ({father_repeated:.3f}) + {SLACK}",
        ),
        HealthGate(
            name="language drift in greedy text", passed=drift <= DRIFT * father_drift + SLACK, value=round(drift, 3),
            limit=f"<= {DRIFT} x father ({father_drift:.3f}) + {SLACK}",
        ),
    ]  # fmt: skip


def _complete(model: Any, tokenizer: Any, prompt: str) -> str:
    ids = [*prefix_tokens(tokenizer), *tokenizer(prompt, add_special_tokens=False)["input_ids"][:32]]
    tokens = torch.tensor([ids], device=next(model.parameters()).device)
    out = model.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
    )
    return tokenizer.decode(out[0, len(ids) :], skip_special_tokens=True)


def repetition(text: str, n: int = 4) -> float:
    """Share of character n-grams that occurred before in the same text; 0 for a text shorter than n."""
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    return 1 - len(Counter(grams)) / len(grams) if grams else 0.0


def script_drift(prompt: str, text: str) -> float:
    """Share of letters that are Hangul where the prompt is not, or not Hangul where it is."""
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return 0.0
    hangul = sum("\uac00" <= c <= "\ud7a3" for c in letters) / len(letters)
    korean_prompt = any("\uac00" <= c <= "\ud7a3" for c in prompt)
    return 1 - hangul if korean_prompt else hangul
