"""What plan says that stages hold, against what they hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from darwin_mri.checkpoints import find_anatomy
from darwin_mri.checkpoints.anatomy import decoder_of
from darwin_mri.planning.activations import FROZEN_GRAPH, GRAPH, graph_bytes
from speed.shapes import configuration

TOKENS = 64


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("role", "most"), [("father", 1.15), ("mother", 1.4)])  # Qwen 3.5 has fewer norms
def test_the_plan_counts_what_a_backward_pass_keeps(role: str, most: float, dtype: torch.dtype, frozen: bool) -> None:
    changes = {"hidden_size": 512, "intermediate_size": 2048, "vocab_size": 1024}
    if role == "father":
        changes |= {"vocab_size_per_layer_input": 1024}
    model: Any = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**configuration(role, True, changes)))
    model.to(dtype).eval().requires_grad_(not frozen)
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (storage.nbytes(), tensor)
        return tensor

    decoder = decoder_of(model)
    decoder.get_input_embeddings().register_forward_hook(lambda *seen: seen[-1].requires_grad_())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        decoder(input_ids=torch.arange(TOKENS)[None], use_cache=False)
    measured = sum(size for size, _ in kept.values()) / TOKENS
    survey: Any = SimpleNamespace(anatomy=find_anatomy(model), text_config=model.config.get_text_config())
    planned = graph_bytes(survey, dtype.itemsize, (FROZEN_GRAPH if frozen else GRAPH)[dtype.itemsize])
    assert 0.85 * measured < planned < most * measured
