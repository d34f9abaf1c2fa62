"""What is captured of a forward that ends early."""

import pytest
import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.probes import capture, final_states, load_probes, read_through, tokenize_probes


@pytest.fixture(scope="module", params=["nursery:gemma4-korean", "nursery:qwen35-mother"])
def parent(request: pytest.FixtureRequest) -> LoadedModel:
    return load(find_model(request.param, offline=True), "0", device="cpu", dtype="float32")


@torch.inference_mode()
def test_a_forward_that_ends_behind_a_layer_gives_the_same_values_up_to_it(parent: LoadedModel) -> None:
    batch = tokenize_probes(load_probes()[:3], parent.tokenizer, max_tokens=16, device="cpu").batches[0]
    with capture(parent, {0: ("a", "o"), 1: ("h_in", "h_out"), 2: ("h_in",)}) as seen:
        final_states(parent.model, batch)
        whole = dict(seen)
        seen.clear()
        read_through(parent, batch, 1)
    assert seen.keys() == {key for key in whole if key[0] < 2}
    assert all(torch.equal(value, whole[key]) for key, value in seen.items())
    assert not any(module._forward_hooks for module in parent.model.modules())
    assert final_states(parent.model, batch).shape[:2] == batch.ids.shape
