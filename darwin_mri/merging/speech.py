"""Text a model writes, and what is odd about it: loops, and letters of a script nobody asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from darwin_mri.checkpoints import quiet
from darwin_mri.probes import Probe, prefix_tokens, require_tokens

PROMPT_TOKENS = 16  # every prompt is cut to as many, so that all are written on together
ASKED = 0.2  # share of a prompt's letters from which on a script counts as asked for


@torch.inference_mode()
def generate(
    model: Any, tokenizer: Any, ids: Sequence[Sequence[int]], new_tokens: int, seed: int | None = None,
    watch: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Prompts of one length with up to ``new_tokens`` more tokens, shape (prompts, length + new), padded after an end of text.

    Args:
        seed: samples at temperature 1 with this seed; greedy when None.
        watch: called at every step with the next token's logits, (prompts, vocabulary).
    """
    require_tokens(model, ids)
    tokens = torch.tensor(ids, device=next(model.parameters()).device)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    choose = {"do_sample": False} if seed is None else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def seen(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if watch is not None:
            watch(logits)
        return logits

    with quiet(), torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return model.generate(
            tokens,
            logits_processor=[seen],
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new_tokens,
            num_beams=1,
            pad_token_id=pad,
            **choose,
        )


def write_on(
    model: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int, seed: int | None = None
) -> list[tuple[str, str]]:
    """(prompt as it was read, continuation) of every prompt long enough."""
    prefix = list(prefix_tokens(tokenizer))
    encoded = [tokenizer(prompt, add_special_tokens=False)["input_ids"][:PROMPT_TOKENS] for prompt in prompts]
    ids = [prefix + tokens for tokens in encoded if len(tokens) == PROMPT_TOKENS]
    if not ids:
        return []
    out = generate(model, tokenizer, ids, new_tokens, seed)
    length = len(ids[0])
    decode = tokenizer.decode
    return [
        (decode(row[len(prefix) : length], skip_special_tokens=True), decode(row[length:], skip_special_tokens=True))
        for row in out
    ]


def opening_prompts(probes: Sequence[Probe], count: int) -> list[str]:
    """Up to ``count`` prose texts, taken in turn from the languages there are, different passages first."""
    by_language: dict[str, list[str]] = {}
    for probe in probes:
        if probe.domain == "prose":
            by_language.setdefault(probe.language, []).append(probe.text)
    chosen: list[str] = []
    for turn in range(max((len(texts) for texts in by_language.values()), default=0)):
        chosen += [texts[turn] for texts in by_language.values() if turn < len(texts)]
    return chosen[:count]


def repetition(text: str, n: int = 4) -> float:
    """Share of character n-grams that occurred before in the same text; 0 for a text shorter than n."""
    grams = [text[i : i + n] for i in range(len(text) - n + 1)]
    return 1 - len(Counter(grams)) / len(grams) if grams else 0.0


def script_drift(prompt: str, text: str) -> float:
    """Share of a text's letters in a script that its prompt hardly uses; 0 where either has no letters."""
    asked = _scripts(prompt)
    total = sum(asked.values())
    found = _scripts(text)
    if not total or not found:
        return 0.0
    own = {script for script, count in asked.items() if count >= ASKED * total}
    return sum(count for script, count in found.items() if script not in own) / sum(found.values())


def _scripts(text: str) -> Counter[str]:
    """Letters by script, named as Unicode names its letters (HANGUL, LATIN, CJK); kana and kanji are one, as Japanese mixes them."""
    scripts: Counter[str] = Counter()
    for letter in text:
        if letter.isalpha():
            word = unicodedata.name(letter, "UNKNOWN").split()[0].removesuffix("-")
            scripts["CJK" if word in ("HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA") else word] += 1
    return scripts
