"""What an arm may look at: both parents in memory, the layer map, and text that both read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import layer_modules, submodule
from darwin_mri.config import ArmConfig
from darwin_mri.errors import InputError
from darwin_mri.probes import Batch, Probe, Reading, read, require_tokens, select_reading, shared_positions
from darwin_mri.records import Anatomy, FfnAnatomy, LayerAnatomy

if TYPE_CHECKING:
    from darwin_mri.merging.arms.writing import Written

BATCH_TOKENS = 2048  # of one forward; bounds the activations that are alive at once


@dataclass(frozen=True)
class Side:
    """One parent in memory."""

    model: Any
    tokenizer: Any
    anatomy: Anatomy

    @cached_property
    def layers(self) -> list[nn.Module]:
        return layer_modules(self.model, self.anatomy)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def ffn(self, index: int) -> tuple[nn.Module, LayerAnatomy, FfnAnatomy]:
        """(layer, its anatomy, its FFN's) of a layer that has a plain FFN."""
        info = self.anatomy.layers[index]
        if info.ffn is None:
            raise InputError(f"layer {index} has no plain FFN ({info.note})")
        return self.layers[index], info, info.ffn


@dataclass(frozen=True)
class Context:
    """One pair and everything an arm is built from.

    Args:
        layer_map: mother layer of each father layer.
        texts: what both parents read; prompts: what they complete, where an arm lets them write.
        protect: languages and domains whose prompts the father completes.
        gate_rms: per mother layer the measured rms of her gate's pre-activation; empty where no scan measured it.
        nulls: controls to break on purpose: ``map`` (output coordinates of the fitted map permuted), ``mask`` (the tokens on
            which the mother leads shuffled), ``layers`` (the layer map shuffled).
        written: what ``write_texts`` made of the prompts before, where it need not be made again.
    """

    father: Side
    mother: Side
    layer_map: tuple[int, ...]
    settings: ArmConfig
    seed: int = 1
    texts: tuple[Probe, ...] = ()
    prompts: tuple[Probe, ...] = ()
    protect: tuple[str, ...] = ()
    gate_rms: tuple[float, ...] = ()
    nulls: frozenset[str] = frozenset()
    written: tuple[Written, ...] | None = None

    def pairs(self) -> list[tuple[int, int]]:
        """(father layer, mother layer) wherever both have a plain FFN."""
        mother_of = list(self.layer_map)
        if "layers" in self.nulls:
            order = torch.randperm(len(mother_of), generator=self.generator("layers")).tolist()
            mother_of = [mother_of[i] for i in order]
        return [
            (info.index, mother_of[info.index])
            for info in self.father.anatomy.layers
            if info.ffn is not None and self.mother.anatomy.layers[mother_of[info.index]].ffn is not None
        ]

    def generator(self, use: str) -> torch.Generator:
        """Random numbers that depend on the seed and on what they are for."""
        return torch.Generator().manual_seed((self.seed << 16) + sum(use.encode()))

    def permuted(self, matrix: Tensor) -> Tensor:
        """A fitted map as it is, or, under the null ``map``, with its output coordinates permuted."""
        if "map" not in self.nulls:
            return matrix
        return matrix[torch.randperm(len(matrix), generator=self.generator("map")).to(matrix.device)]


@dataclass(frozen=True)
class PairedBatch:
    """The same documents as both parents read them, and the places that end at the same character.

    Each of the P places has a successor in its document: the text between them is what both parents predict from there.
    ``father`` and ``mother`` are batches; ``father_at`` and ``mother_at`` are (rows, columns, columns of the successor).
    """

    father: Batch
    mother: Batch
    father_at: tuple[Tensor, Tensor, Tensor]
    mother_at: tuple[Tensor, Tensor, Tensor]
    documents: tuple[int, ...]  # of the father's rows, into the texts that were paired


def paired_batches(
    father: Side, mother: Side, texts: Sequence[Probe], *, max_tokens: int, token_budget: int = BATCH_TOKENS
) -> list[PairedBatch]:
    """Texts in batches for both parents; a text too short for either is left out.

    Raises:
        InputError: the parents share no place in any text.
    """
    named = [replace(text, doc=str(number)) for number, text in enumerate(texts)]
    readings = [
        read(named, side.tokenizer, max_tokens=max_tokens, device=str(side.device), token_budget=token_budget)
        for side in (father, mother)
    ]
    for side, reading in zip((father, mother), readings, strict=True):
        require_tokens(side.model, (*reading.ids, reading.prefix))
    where = {probe.doc: index for index, probe in enumerate(readings[1].probes)}
    batches = []
    for batch in readings[0].batches:
        rows = [int(i) for i in batch.documents if readings[0].probes[int(i)].doc in where]
        if rows:
            batches.append(_pair(readings[0], rows, readings[1], where, (str(father.device), str(mother.device))))
    if not sum(len(batch.father_at[0]) for batch in batches):
        raise InputError("the parents' tokenizers share no boundary in any text: give --probes longer texts")
    return batches


def _pair(
    father: Reading, rows: list[int], mother: Reading, where: Mapping[str, int], devices: tuple[str, str]
) -> PairedBatch:
    columns = [where[father.probes[i].doc] for i in rows]
    left = select_reading(father, rows, device=devices[0], token_budget=1 << 40).batches[0]
    right = select_reading(mother, columns, device=devices[1], token_budget=1 << 40).batches[0]
    row_of = {int(document): row for row, document in enumerate(right.documents)}
    places: list[tuple[int, int, int, int, int, int]] = []
    for row, document in enumerate(left.documents.tolist()):
        ends = list(father.ends[rows[document]]), list(mother.ends[columns[document]])
        shared = [(f + len(father.prefix), m + len(mother.prefix)) for f, m in shared_positions(*ends)]
        places += [(row, a, c, row_of[document], b, d) for (a, b), (c, d) in zip(shared, shared[1:], strict=False)]
    table = torch.tensor(places, dtype=torch.long).reshape(-1, 6).T
    documents = tuple(int(father.probes[rows[d]].doc) for d in left.documents.tolist())
    at = [tuple(part.to(device) for part in table[i : i + 3]) for i, device in ((0, devices[0]), (3, devices[1]))]
    return PairedBatch(left, right, at[0], at[1], documents)  # type: ignore[arg-type]


SITES = ("x", "g", "a", "o", "h")
"""What ``watch`` can see of a layer: FFN input, gate's pre-activation, neurons, the FFN's own output before a post-norm, and
the layer's output."""


@contextmanager
def watch(side: Side, wanted: Mapping[int, Sequence[str]]) -> Iterator[dict[tuple[int, str], Tensor]]:
    """While open, a forward leaves (layer, site) -> tensor (rows, length, width) in the yielded dictionary, newest only."""
    seen: dict[tuple[int, str], Tensor] = {}
    handles = []
    for index, sites in wanted.items():
        for site in sites:
            handles.append(_hook(side, index, site, seen))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _hook(side: Side, index: int, site: str, seen: dict[tuple[int, str], Tensor]) -> Any:
    def after(_: nn.Module, args: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        seen[index, site] = value.chunk(2, dim=-1)[0] if site == "g" and fused else value

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[index, site] = args[0] if args else next(iter(kwargs.values()))

    fused = False
    if site == "h":
        return side.layers[index].register_forward_hook(after)
    layer, _, ffn = side.ffn(index)
    fused = ffn.fused_gate_up
    module = submodule(layer, {"x": ffn.module, "a": ffn.down, "o": ffn.module, "g": ffn.gate or ffn.up}[site])
    if site in ("x", "a"):
        return module.register_forward_pre_hook(before, with_kwargs=True)
    return module.register_forward_hook(after)


def forward(side: Side, batch: Batch) -> Tensor:
    """The decoder's last hidden state. The decoder, not the model: Gemma 4 drops tokens in its KV-shared layers when
    ``logits_to_keep`` is passed, and logits over a large vocabulary would be the largest activation of all."""
    out = side.model.get_decoder()(input_ids=batch.ids, attention_mask=batch.attention, use_cache=False)
    return out.last_hidden_state
