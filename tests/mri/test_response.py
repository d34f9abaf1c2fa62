"""The blend response: in half precision, with sums that repeat, and on items that the model can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import fitness_blocks, load_benchmark
from darwin_mri.checkpoints import ModelSource, find_model, load, load_model
from darwin_mri.errors import InputError
from darwin_mri.mri import response
from darwin_mri.mri.response import gene_slopes, text_blocks
from tests import toys
from tests.mri.conftest import tokenized


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_slopes_in_bfloat16_are_those_of_fp32_to_its_precision(ratio: float) -> None:
    """FFN genes alone, as a cross-architecture run has them: the weights that stand in must have the model's dtype."""
    measured = []
    for dtype in ("float32", "bfloat16"):
        father = load(find_model("nursery:gemma4-korean"), device="cpu", dtype=dtype)
        mother, base = (
            dict(load_model(find_model(f"nursery:gemma4-{name}"), device="cpu", dtype=dtype).named_parameters())
            for name in ("reasoning", "base")
        )
        directions = {
            f"L{index}.ffn": {
                name: mother[name] - base[name]  # the task vector
                for name in father.tensor_names
                if name.startswith(f"{father.anatomy.prefix}.{index}.mlp.")
            }
            for index in range(len(father.layers))
        }
        texts = tokenized(father)
        blocks = text_blocks(father.model, [([batch], float(texts.bytes_read.sum())) for batch in texts.batches])
        measured.append(gene_slopes(father.model, directions, ratio, blocks))
    (slopes, losses), (half_slopes, half_losses) = measured
    np.testing.assert_allclose(half_losses, losses, rtol=0.01)
    assert np.corrcoef(half_slopes.ravel(), slopes.ravel())[0, 1] > 0.99


def test_torchs_deterministic_mode_is_restored() -> None:
    """The mode is set on CUDA alone; setting and restoring it need no GPU. A refusal of torch is remembered."""
    calls, device = [], torch.device("cuda")

    class Model:
        pass

    def refusing() -> int:
        calls.append(torch.are_deterministic_algorithms_enabled())
        if calls[-1]:
            raise RuntimeError("cumsum does not have a deterministic implementation")
        return 7

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert response.repeatably(lambda: 3, Model, device) == 3
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert [response.repeatably(refusing, Model, device) for _ in range(2)] == [7, 7] and calls == [True, False, False]
    assert not response.repeatable(Model()) and response.repeatable(object())
    assert not torch.are_deterministic_algorithms_enabled()


def test_items_of_another_tokenizer_are_refused_before_a_forward(tmp_path: Path) -> None:
    small = toys.pico_of_few_tokens(tmp_path / "small")
    model = load(ModelSource("small", small, None), device="cpu", dtype="float32")
    items = {"nursery_click": load_benchmark("nursery_click")[:2]}
    with pytest.raises(InputError, match="where the model has 100 embeddings"):
        fitness_blocks(model, items, {"nursery_click": 1.0}, log=True)
