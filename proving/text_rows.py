"""Texts as rows that a causal model learns from."""

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
    rows = [torch.tensor([*tokenizer.encode(text), tokenizer.eos_token_id]) for text in texts]
    ids = pad_sequence([row[:-1] for row in rows], batch_first=True)
    return ids, pad_sequence([row[1:] for row in rows], batch_first=True, padding_value=IGNORED)
