"""A child of a real architecture loads with transformers and computes what the merge in memory computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.config import OPERATORS
from darwin_mri.merging import Settings, blend, write_child
from tests.toys import pico_gemma4


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    root = tmp_path_factory.mktemp("parents")
    father = pico_gemma4(root / "father", seed=0, max_shard_size="40KB", dtype="bfloat16")
    mother = pico_gemma4(root / "mother", seed=1, dtype="bfloat16")
    return father, mother, pico_gemma4(root / "base", seed=2, max_shard_size="60KB", dtype="bfloat16")


@pytest.mark.parametrize("method", OPERATORS)
def test_child_loads_and_agrees_with_memory(parents: tuple[Path, Path, Path], tmp_path: Path, method: str) -> None:
    father, mother, base = parents
    with CheckpointReader(father) as f, CheckpointReader(mother) as m, CheckpointReader(base) as b:
        assert len(f.shards()) > 1 == len(m.shards())
        changed = [name for name in f.names() if ".mlp." in name]

        def compute(name: str) -> torch.Tensor:
            settings = Settings(density_father=0.8, density=0.6)
            parents = f.tensor(name), m.tensor(name)
            return blend(method, parents, b.tensor(name), settings, seed=1, name=name).child(0.4, f.dtype(name))

        files = write_child(father, tmp_path / "child", changed, compute, note={})
        assert set(files.changed) == set(changed)
        in_memory: Any = AutoModelForCausalLM.from_pretrained(father)
        in_memory.load_state_dict({name: compute(name) for name in changed}, strict=False)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "child", output_loading_info=True)
    child, report = loaded
    assert not any(report.values())
    tokens = torch.arange(24).reshape(2, 12)
    with torch.no_grad():
        assert torch.equal(child(tokens).logits, in_memory(tokens).logits)
    assert (tmp_path / "child" / "config.json").read_bytes() == (father / "config.json").read_bytes()
