"""Slopes of all genes against plain forwards over the same tokens: all weights at once, and layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from darwin_mri.checkpoints import LoadedModel, find_model
from darwin_mri.config import Config
from darwin_mri.mri.response import gene_slopes, text_blocks
from darwin_mri.probes import document_nll, load_probes, select_probes, tokenize_probes
from darwin_mri.problem.directions import Shelf, filed_directions
from darwin_mri.problem.space import sibling_space
from speed.measure import make_row, time_pair


def slope_rows(father: LoadedModel) -> Iterator[dict[str, Any]]:
    """The nursery's father and a sibling: every tensor moves, a gene for each layer's mixer and FFN."""
    probes = select_probes(load_probes(), ("ko", "en"), 8, 1)
    tokenized = tokenize_probes(probes, father.tokenizer, max_tokens=96, device="cpu")
    config = Config(father="f", mother="m", base="b")
    mother, base = (find_model(f"nursery:gemma4-{name}") for name in ("reasoning", "base"))
    space = sibling_space(config, father, (mother,), base)
    directions = filed_directions(space, father, 1.0, Shelf(father.device, None))
    blocks = text_blocks(father.model, [([batch], 1.0) for batch in tokenized.batches])

    @torch.inference_mode()
    def forward() -> None:
        for batch in tokenized.batches:
            document_nll(father.model, batch)

    for name, layers in (("all at once", None), ("layer by layer", father.layers)):
        seconds, plain = time_pair(lambda own=layers: gene_slopes(father.model, directions, 0.5, blocks, own), forward)
        yield make_row(
            f"slopes, {name}",
            "plain forward and loss, same tokens",
            seconds / plain,
            4.0,
            lower=True,
            detail=f"{seconds:.2f} s / {plain:.2f} s, {tokenized.tokens} tokens, {len(directions)} genes",
        )
