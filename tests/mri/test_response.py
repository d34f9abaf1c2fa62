"""The blend response of a model that is loaded in half precision."""

from __future__ import annotations

import numpy as np
import pytest

from darwin_mri.checkpoints import find_model
from darwin_mri.config import make_config
from darwin_mri.mri.response import gene_slopes, text_blocks
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.parents import load
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
