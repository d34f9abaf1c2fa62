"""The blend response: in half precision, with sums that repeat, and on items that the model can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from darwin_mri.benchmarks import load_benchmark
from darwin_mri.checkpoints import ModelSource, find_model
from darwin_mri.config import make_config
from darwin_mri.errors import InputError
from darwin_mri.mri import response
from darwin_mri.mri.response import gene_slopes, text_blocks
from darwin_mri.stages.items import fitness_blocks
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.parents import load
from tests import toys
from tests.mri.conftest import as_parent

FAMILY = {"father": "nursery:gemma4-korean", "mother": "nursery:gemma4-reasoning", "base": "nursery:gemma4-base"}


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_slopes_in_bfloat16_are_those_of_fp32_to_its_precision(ratio: float) -> None:
    """FFN genes alone, as a cross-architecture run has them: the weights that stand in must have the model's dtype."""
    found = []
    for dtype in ("float32", "bfloat16"):
        father = load(find_model(FAMILY["father"]), "", device="cpu", dtype=dtype)
        breed = breed_siblings(
            make_config(FAMILY, "test"), father, find_model(FAMILY["mother"]), find_model(FAMILY["base"])
        )
        genes = [gene for gene in breed.space.genes if gene.name.endswith(".ffn")]
        directions = {gene.name: {name: breed.merge.direction(name, 1.0) for name in gene.tensors} for gene in genes}
        reading = as_parent(father).reading
        blocks = text_blocks(father.model, [([batch], float(reading.bytes_read.sum())) for batch in reading.batches])
        found.append(gene_slopes(father.model, directions, ratio, blocks))
    (slopes, losses), (half_slopes, half_losses) = found
    np.testing.assert_allclose(half_losses, losses, rtol=0.01)
    assert np.corrcoef(half_slopes.ravel(), slopes.ravel())[0, 1] > 0.99


def test_torchs_determinism_is_left_as_it_was_and_a_refusal_is_remembered() -> None:
    """On CUDA alone; what is asked of torch is the same everywhere."""
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
        assert response._repeatably(lambda: 3, Model, device) == 3
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert [response._repeatably(refusing, Model, device) for _ in range(2)] == [7, 7] and calls == [True, False, False]
    assert not response.repeatable(Model()) and response.repeatable(object())
    assert not torch.are_deterministic_algorithms_enabled()


def test_items_of_another_tokenizer_are_refused_before_a_forward(tmp_path: Path) -> None:
    small = toys.pico_of_few_tokens(tmp_path / "small")
    model = load(ModelSource("small", small, None), "", device="cpu", dtype="float32")
    items = {"nursery_click": load_benchmark("nursery_click")[:2]}
    with pytest.raises(InputError, match="where the model has 100 embeddings"):
        fitness_blocks(model.model, model.tokenizer, items, {"nursery_click": 1.0}, log=True)
