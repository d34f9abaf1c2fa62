"""What an arm may look at: both parents in memory, the layer map, and text that both read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from darwin_mri import seeds
from darwin_mri.batch_sizes import ARM_TOKENS
from darwin_mri.checkpoints import LoadedModel
from darwin_mri.config import ArmConfig
from darwin_mri.errors import InputError
from darwin_mri.probes import (
    Batch,
    Probe,
    TokenizedProbes,
    batch_together,
    require_tokens,
    shared_positions,
    tokenize_probes,
)

Places = tuple[Tensor, Tensor, Tensor]
"""Rows, columns, and columns of the successors in a batch, (places,) each."""


@dataclass(frozen=True)
class SynthesizedText:
    """A prompt with its completion.

    Attributes:
        text: prompt and completion.
        start: the character where the completion begins.
        author: ``father`` or ``mother``.
    """

    text: Probe
    start: int
    author: str


@dataclass(frozen=True)
class Context:
    """One pair and everything an arm is built from.

    Attributes:
        father: the parent whose FFNs are changed.
        mother: the parent they are changed toward.
        layer_map: mother layer of each father layer.
        settings: of the arm.
        seed: of whatever the arm draws.
        texts: what both parents read.
        prompts: what they complete, where an arm lets them write.
        protect: languages and domains whose prompts the father completes.
        gate_rms: per mother layer the measured rms of its gate's pre-activation, None for a layer without FFN; empty
            where no scan measured it.
        synthesized: the completed prompts; None has the arm complete them (``synthesize_texts``).
        advance: called with the number of steps done (``count_steps``).
        mother_on_device: while what it returns is open, the mother computes; the father may wait in host memory.
    """

    father: LoadedModel
    mother: LoadedModel
    layer_map: tuple[int, ...]
    settings: ArmConfig
    seed: int = 1
    texts: tuple[Probe, ...] = ()
    prompts: tuple[Probe, ...] = ()
    protect: tuple[str, ...] = ()
    gate_rms: tuple[float | None, ...] = ()
    synthesized: tuple[SynthesizedText, ...] | None = None
    advance: Callable[[int], None] = lambda _: None
    mother_on_device: Callable[[], AbstractContextManager[object]] = nullcontext

    def pairs(self) -> list[tuple[int, int]]:
        """(father layer, mother layer) wherever both have a plain FFN."""
        return [
            (info.index, self.layer_map[info.index])
            for info in self.father.anatomy.layers
            if info.ffn is not None and self.mother.anatomy.layers[self.layer_map[info.index]].ffn is not None
        ]

    def generator(self, *names: str | int) -> torch.Generator:
        """Random numbers that depend on the seed and on what they are for."""
        return torch.Generator().manual_seed(seeds.integer(self.seed, *names))


@dataclass(frozen=True)
class PairedBatch:
    """The same documents as both parents read them, and the places that end at the same character.

    Each place has a successor in its document: the text between them is what both parents predict from there.

    Attributes:
        father: the documents in the father's tokens.
        mother: the documents in the mother's tokens.
        father_at: the places in the father's batch.
        mother_at: the same places in the mother's batch.
        documents: of the father's rows, indices into the texts that were paired.
    """

    father: Batch
    mother: Batch
    father_at: Places
    mother_at: Places
    documents: tuple[int, ...]


def paired_batches(
    father: LoadedModel,
    mother: LoadedModel,
    texts: Sequence[Probe],
    *,
    max_tokens: int,
    token_budget: int = ARM_TOKENS,
) -> list[PairedBatch]:
    """Texts in batches for both parents; a text too short for either is left out.

    Args:
        father: the father.
        mother: the mother, which may be on another device.
        texts: what both read.
        max_tokens: texts are cut after so many.
        token_budget: padded tokens of the father's batch at most.

    Returns:
        The same documents in both parents' tokens, with the places that they share.

    Raises:
        InputError: the parents share no place in any text.
    """
    named = [replace(text, doc=str(number)) for number, text in enumerate(texts)]
    tokenized = [
        tokenize_probes(
            named, parent.tokenizer, max_tokens=max_tokens, device=str(parent.device), token_budget=token_budget
        )
        for parent in (father, mother)
    ]
    for parent, own in zip((father, mother), tokenized, strict=True):
        require_tokens(parent.model, (*own.ids, own.prefix))
    father_texts, mother_texts = tokenized
    mother_index = {probe.doc: index for index, probe in enumerate(mother_texts.probes)}
    batches = []
    for batch in father_texts.batches:
        rows = [int(i) for i in batch.documents if father_texts.probes[int(i)].doc in mother_index]
        if rows:
            devices = str(father.device), str(mother.device)
            batches.append(_pair(father_texts, rows, mother_texts, mother_index, devices))
    if not sum(len(batch.father_at[0]) for batch in batches):
        raise InputError("the parents' tokenizers share no boundary in any text: give --probes longer texts")
    return batches


def _pair(
    father: TokenizedProbes,
    rows: list[int],
    mother: TokenizedProbes,
    mother_index: Mapping[str, int],
    devices: tuple[str, str],
) -> PairedBatch:
    """Pair some of the father's texts (``rows``) with the mother's of the same document."""
    columns = [mother_index[father.probes[i].doc] for i in rows]
    left = batch_together(father, rows, device=devices[0])
    right = batch_together(mother, columns, device=devices[1])
    row_of = {int(document): row for row, document in enumerate(right.documents)}
    places: list[tuple[int, int, int, int, int, int]] = []
    for row, document in enumerate(left.documents.tolist()):
        ends = list(father.ends[rows[document]]), list(mother.ends[columns[document]])
        shared = [(f + len(father.prefix), m + len(mother.prefix)) for f, m in shared_positions(*ends)]
        places += [(row, a, c, row_of[document], b, d) for (a, b), (c, d) in zip(shared, shared[1:], strict=False)]
    table = torch.tensor(places, dtype=torch.long).reshape(-1, 6).T  # father's and mother's three, (places,) each
    documents = tuple(int(father.probes[rows[d]].doc) for d in left.documents.tolist())
    at = [tuple(part.to(device) for part in table[i : i + 3]) for i, device in ((0, devices[0]), (3, devices[1]))]
    return PairedBatch(left, right, at[0], at[1], documents)  # type: ignore[arg-type]
