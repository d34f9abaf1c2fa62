"""Per token, how well a parent predicts a text: its loss, and whether its first guess was correct."""

from __future__ import annotations

import torch
from torch import Tensor

from darwin_mri.batch_sizes import logit_positions
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.arms.context import PairedBatch, Places
from darwin_mri.probes import Batch, project


def token_losses(parent: LoadedModel, batch: Batch, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each text token, in nats, and whether it was the first guess.

    Args:
        parent: the model that predicts.
        batch: what it reads.
        hidden: (rows, length, hidden) the decoder's last hidden state of the batch.

    Returns:
        Two tensors of shape (rows, length), fp32 and bool; column t is about token t, 0 and False where nothing
        predicts it.
    """
    losses = torch.zeros(batch.ids.shape, device=batch.ids.device)
    correct = torch.zeros(batch.ids.shape, dtype=torch.bool, device=batch.ids.device)
    rows, columns = torch.nonzero(batch.text[:, 1:], as_tuple=True)  # the token at column + 1 is predicted
    size = logit_positions(parent.model.config.get_text_config().vocab_size)
    for r, c in zip(rows.split(size), columns.split(size), strict=True):
        logits = project(parent.model, hidden[r, c])  # (positions, vocabulary)
        tokens = batch.ids[r, c + 1]
        losses[r, c + 1] = torch.nn.functional.cross_entropy(logits, tokens, reduction="none")
        correct[r, c + 1] = logits.argmax(-1) == tokens
    return losses, correct


def segment_losses(losses: Tensor, places: Places) -> Tensor:
    """The loss (places,) of the text between each place and its successor, comparable across tokenizers."""
    rows, columns, successors = places
    running = losses.cumsum(dim=1)  # (rows, length)
    return running[rows, successors] - running[rows, columns]


def advantage(father: Tensor, mother: Tensor, batch: PairedBatch) -> Tensor:
    """By how many nats the mother predicts the text after each paired place better than the father.

    Args:
        father: (rows, length) the father's losses.
        mother: (rows, length) the mother's losses, in its own tokens.
        batch: the paired places.

    Returns:
        (places,) on the father's device.
    """
    mother_losses = segment_losses(mother, batch.mother_at).to(father.device)
    return segment_losses(father, batch.father_at) - mother_losses
