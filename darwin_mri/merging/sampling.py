"""Text a model writes, and what is odd about it: loops, and letters of a script nobody asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from darwin_mri.checkpoints import quiet
from darwin_mri.checkpoints.generation import contiguous_head
from darwin_mri.probes import Probe, letters_by_script, prefix_tokens, require_tokens

PROMPT_TOKENS = 16  # every prompt is cut to as many, so that all are continued together
PROMPTED = 0.2  # least share of a prompt's letters from which a script counts as the prompt's own


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    ids: Sequence[Sequence[int]],
    new_tokens: int,
    seed: int | None = None,
    on_logits: Callable[[torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Continue prompts of one length.

    Args:
        model: a causal language model.
        tokenizer: the model's, for its padding token.
        ids: (prompts, length) tokens.
        new_tokens: at most so many more.
        seed: samples at temperature 1 with this seed; greedy when None.
        on_logits: called at every step with the next token's logits, (prompts, vocabulary).

    Returns:
        (prompts, length + new) tokens, padded after an end of text.

    Raises:
        InputError: the tokenizer belongs to another model.
    """
    require_tokens(model, ids)
    tokens = torch.tensor(ids, device=next(model.parameters()).device)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    choose = {"do_sample": False} if seed is None else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}

    def report(_: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if on_logits is not None:
            on_logits(logits)
        return logits

    with quiet(), contiguous_head(model), torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return model.generate(
            tokens,
            logits_processor=[report],
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new_tokens,
            num_beams=1,
            pad_token_id=pad,
            **choose,
        )


def continue_prompts(
    model: Any, tokenizer: Any, prompts: Sequence[str], new_tokens: int, seed: int | None = None
) -> list[tuple[str, str]]:
    """Continue every prompt that has ``PROMPT_TOKENS`` tokens; all are cut to as many.

    Args:
        model: a causal language model.
        tokenizer: the model's.
        prompts: texts.
        new_tokens: of each continuation, at most.
        seed: of sampling; greedy when None.

    Returns:
        (prompt as it was read, continuation) of each.
    """
    prefix = list(prefix_tokens(tokenizer))
    encoded = [tokenizer(prompt, add_special_tokens=False)["input_ids"][:PROMPT_TOKENS] for prompt in prompts]
    ids = [prefix + tokens for tokens in encoded if len(tokens) == PROMPT_TOKENS]
    if not ids:
        return []
    rows, length = generate(model, tokenizer, ids, new_tokens, seed), len(ids[0])  # (prompts, length + new)
    decode = tokenizer.decode
    return [
        (decode(row[len(prefix) : length], skip_special_tokens=True), decode(row[length:], skip_special_tokens=True))
        for row in rows
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
    prompt_letters, letters = letters_by_script(prompt), letters_by_script(text)
    total = sum(prompt_letters.values())
    if not total or not letters:
        return 0.0
    own = {script for script, count in prompt_letters.items() if count >= PROMPTED * total}
    return sum(count for script, count in letters.items() if script not in own) / sum(letters.values())
