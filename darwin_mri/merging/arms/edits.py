"""What an edit of the father is asked for: states at places of a text, and which tokens of it the parents wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.arms.context import PairedBatch, SynthesizedText
from darwin_mri.probes import Batch

Arrange = Callable[[Tensor], Tensor]
"""Called with the boolean marks (places,) of the edited places in one batch; a null arm shuffles them."""


def keep_marks(marks: Tensor) -> Tensor:
    """The marks as they are."""
    return marks


@dataclass(frozen=True)
class EditTarget:
    """One batch with the states the father should have.

    Attributes:
        batch: the text.
        layer: after which the states are meant.
        states: (rows, length, hidden) target of the residual state there, fp32, in host memory: all texts' together
            would be short on a device.
        edit: (rows, length) boolean, where the target is not the father's own state.
    """

    batch: Batch
    layer: int
    states: Tensor
    edit: Tensor


def written_tokens(father: LoadedModel, batch: PairedBatch, synthesized: tuple[SynthesizedText, ...]) -> Tensor:
    """Which of the father's tokens belong to a completion.

    Args:
        father: the father.
        batch: whose ``documents`` count the synthesized texts first.
        synthesized: prompts with their completions; every text token counts where there are none.

    Returns:
        (rows, length) boolean.
    """
    if not synthesized:
        return batch.father.text.clone()
    marks = torch.zeros_like(batch.father.text)
    for row, document in enumerate(batch.documents):
        if document >= len(synthesized):
            continue  # a text of the context, on which the father stays as it is
        tokens = int(batch.father.text[row].sum())
        first = int(batch.father.text[row].nonzero()[0])
        for column, end in enumerate(token_ends(father, synthesized[document].text.text, tokens)):
            marks[row, first + column] = end > synthesized[document].start
    return marks


def token_ends(father: LoadedModel, text: str, tokens: int) -> list[int]:
    """The character where each of a text's first tokens ends.

    Args:
        father: whose tokenizer reads it.
        text: the text.
        tokens: how many of its first tokens.

    Returns:
        One character for each of these tokens.
    """
    encoded = father.tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, truncation=True, max_length=tokens
    )
    return [end for _, end in encoded["offset_mapping"]]
