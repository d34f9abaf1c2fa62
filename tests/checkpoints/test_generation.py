"""Generation reads the head with contiguous states, and writes what it would write without that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darwin_mri.merging.sampling import generate
from tests.merging.pairs import loaded
from tests.toys import pico_gemma4, pico_llama


@pytest.mark.parametrize("pico", [pico_gemma4, pico_llama])
def test_the_head_reads_contiguous_states_and_the_text_is_the_same(pico: object, tmp_path: Path) -> None:
    model = loaded(pico(tmp_path / "model"))  # type: ignore[operator]
    ids = torch.randint(5, 90, (6, 7), generator=torch.Generator().manual_seed(1))
    seen: list[bool] = []

    def look(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(args[0].is_contiguous())

    handle = model.model.get_output_embeddings().register_forward_hook(look)
    plain = model.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    if pico is pico_llama:
        assert not all(seen), "transformers no longer hands on a slice: contiguous_head is not needed any more"
    seen.clear()
    written = generate(model.model, model.tokenizer, ids.tolist(), 4)
    assert len(seen) > 0 and all(seen)
    handle.remove()
    assert torch.equal(written[:, :11], plain[:, :11])
    assert not model.model.get_output_embeddings()._forward_pre_hooks
