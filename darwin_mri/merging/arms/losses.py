"""Per token, what a parent makes of a text: its loss, and whether its first guess was right."""

from __future__ import annotations

import torch
from torch import Tensor

from darwin_mri.merging.arms.context import PairedBatch, Side
from darwin_mri.probes import LOGIT_POSITIONS, Batch, project


def token_losses(side: Side, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each text token, in nats, and whether it was the first guess; 0 and False where nothing predicts it.

    Args:
        hidden: the decoder's last hidden state of the batch.

    Returns:
        two tensors of shape (rows, length), fp32 and bool; column t is about token t.
    """
    losses = torch.zeros(batch.ids.shape, device=batch.ids.device)
    right = torch.zeros(batch.ids.shape, dtype=torch.bool, device=batch.ids.device)
    rows, columns = torch.nonzero(batch.text[:, 1:], as_tuple=True)  # the token at column + 1 is predicted
    for start in range(0, len(rows), LOGIT_POSITIONS):
        r, c = rows[start : start + LOGIT_POSITIONS], columns[start : start + LOGIT_POSITIONS]
        logits = project(side.model, hidden[r, c])
        tokens = batch.ids[r, c + 1]
        losses[r, c + 1] = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
        right[r, c + 1] = logits.argmax(-1) == tokens
    return losses, right


def segment_losses(losses: Tensor, at: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The loss of the text between each paired place and its successor, shape (P,): comparable across tokenizers."""
    rows, columns, successors = at
    running = losses.cumsum(dim=1)
    return running[rows, successors] - running[rows, columns]


def advantage(father: Tensor, mother: Tensor, batch: PairedBatch) -> Tensor:
    """By how many nats the mother predicts the text after each paired place better than the father, shape (P,)."""
    theirs = segment_losses(mother, batch.mother_at).to(father.device)
    return segment_losses(father, batch.father_at) - theirs
