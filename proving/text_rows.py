"""Texts, or prompts with answers, as rows that a causal model learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100  # what cross_entropy leaves out


def rows_of(texts: Sequence[str], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts with the tokenizer's own beginning, and its end of sequence.

    Returns:
        (token ids, the token that follows each or ``IGNORED``), (rows, longest text) both.
    """
    return _pad([(tokenizer.encode(text), 1) for text in texts], tokenizer)


def answer_rows(pairs: Sequence[tuple[str, str]], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts with their answers, of which the answers and the end of sequence alone are learned.

    Returns:
        As ``rows_of``.
    """
    rows = []
    for prompt, answer in pairs:
        ids = tokenizer.encode(prompt)
        rows.append(([*ids, *tokenizer.encode(answer, add_special_tokens=False)], len(ids)))
    return _pad(rows, tokenizer)


def _pad(rows: Sequence[tuple[list[int], int]], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids, and how many at the beginning of each are not learned."""
    ids = [torch.tensor([*row, tokenizer.eos_token_id]) for row, _ in rows]
    targets = [row[1:].clone() for row in ids]
    for target, (_, given) in zip(targets, rows, strict=True):
        target[: given - 1] = IGNORED
    inputs = pad_sequence([row[:-1] for row in ids], batch_first=True)
    return inputs, pad_sequence(targets, batch_first=True, padding_value=IGNORED)
