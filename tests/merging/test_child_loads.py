"""A child of a real architecture loads with transformers and computes what the merge in memory computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma4ForCausalLM, Gemma4TextConfig
from transformers.utils import logging

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.merging import METHODS, merge_tensor, write_child


def save_gemma4(path: Path, seed: int, shard_size: str) -> Path:
    config = Gemma4TextConfig(
        vocab_size=64, vocab_size_per_layer_input=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, global_head_dim=16, hidden_size_per_layer_input=8,
        layer_types=["sliding_attention", "full_attention"], sliding_window=8,
    )  # fmt: skip
    torch.manual_seed(seed)
    Gemma4ForCausalLM(config).to(torch.bfloat16).save_pretrained(path, max_shard_size=shard_size)
    return path


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    logging.disable_progress_bar()
    root = tmp_path_factory.mktemp("parents")
    return tuple(save_gemma4(root / f"p{seed}", seed, size) for seed, size in enumerate(("20KB", "1GB", "40KB")))  # type: ignore[return-value]


@pytest.mark.parametrize("method", METHODS)
def test_child_loads_and_agrees_with_memory(parents: tuple[Path, Path, Path], tmp_path: Path, method: str) -> None:
    father, mother, base = parents
    with CheckpointReader(father) as f, CheckpointReader(mother) as m, CheckpointReader(base) as b:
        assert len(f.shards()) > 1 == len(m.shards())
        changed = [name for name in f.names() if ".mlp." in name]

        def compute(name: str) -> torch.Tensor:
            return merge_tensor(
                method, father=f.tensor(name), mother=m.tensor(name), base=b.tensor(name), ratio=0.4,
                density_father=0.8, density_mother=0.6, seed=1, name=name, dtype=f.dtype(name),
            )  # fmt: skip

        files = write_child(father, tmp_path / "child", changed, compute, note={})
        assert set(files.changed) == set(changed)
        in_memory = AutoModelForCausalLM.from_pretrained(father)
        in_memory.load_state_dict({name: compute(name) for name in changed}, strict=False)
    child, report = AutoModelForCausalLM.from_pretrained(tmp_path / "child", output_loading_info=True)
    assert not any(report.values())
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(child(tokens).logits, in_memory(tokens).logits)
    assert (tmp_path / "child" / "config.json").read_bytes() == (father / "config.json").read_bytes()
