"""Slopes layer by layer are those of all weights at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, ModelSource, find_model, load
from darwin_mri.checkpoints.model import stored_tensors
from darwin_mri.mri.response import gene_slopes, text_blocks
from tests import toys
from tests.mri.conftest import tokenized

FAMILIES = ("llama", "gpt2", "gemma3_text", "qwen3_moe", "mamba2")


def random_directions(model: LoadedModel) -> dict[str, dict[str, torch.Tensor]]:
    """Two genes that move every tensor of the decoder, and one that moves the embedding and the head alone."""
    generator = torch.Generator().manual_seed(0)
    inside = {name: value for name, value in stored_tensors(model.model).items() if value.is_floating_point()}
    directions: dict[str, dict[str, torch.Tensor]] = {"first": {}, "second": {}, "ends": {}}
    for name, value in inside.items():
        layer = name.startswith(f"{model.anatomy.prefix}.")
        for gene in ("first", "second") if layer else ("ends",):
            directions[gene][name] = 0.02 * torch.randn(value.shape, generator=generator)
    return directions


@pytest.mark.parametrize("ratio", [0.0, 0.4])
@pytest.mark.parametrize("family", [*FAMILIES, "nursery:gemma4-base", "nursery:qwen35-mother"])
def test_layer_by_layer_gives_the_same_slopes(family: str, ratio: float, tmp_path: Path) -> None:
    source = find_model(family) if ":" in family else ModelSource(family, toys.pico(family, tmp_path / "model"), None)
    model = load(source, device="cpu", dtype="float32")
    texts = tokenized(model)
    blocks = text_blocks(model.model, [([batch], float(texts.bytes_read.sum())) for batch in texts.batches])
    directions, before = random_directions(model), {n: v.clone() for n, v in stored_tensors(model.model).items()}
    slopes, losses = gene_slopes(model.model, directions, ratio, blocks)
    lean, lean_losses = gene_slopes(model.model, directions, ratio, blocks, model.layers)
    np.testing.assert_allclose(lean, slopes, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(lean_losses, losses)
    assert np.abs(slopes).min() > 0
    assert all(torch.equal(before[name], value) for name, value in stored_tensors(model.model).items())
    assert not any("forward" in module.__dict__ for module in model.model.modules())


def test_slopes_are_differences_of_the_loss_where_an_embedding_is_read_in_part() -> None:
    """The gene of the embedding, against central differences; the table's rows that no text reads have no part."""
    model = load(find_model("nursery:gemma4-base"), device="cpu", dtype="float32")
    model.model.double()
    texts = tokenized(model)
    blocks = text_blocks(model.model, [([batch], float(texts.bytes_read.sum())) for batch in texts.batches])
    name = next(name for name in model.tensor_names if "embed_tokens.weight" in name)
    table = stored_tensors(model.model)[name]
    along = {"embedding": {name: 0.1 * torch.randn(table.shape, generator=torch.Generator().manual_seed(1))}}
    (slope,), _ = gene_slopes(model.model, along, 0.2, blocks, model.layers)
    up, down = (gene_slopes(model.model, along, 0.2 + step, blocks)[1] for step in (2e-2, -2e-2))
    np.testing.assert_allclose(slope, (up - down) / 4e-2, rtol=1e-2)
