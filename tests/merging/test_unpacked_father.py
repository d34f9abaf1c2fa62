"""Children of a father that was unpacked: their dtypes, and the same bits in memory and on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import CheckpointReader, find_model, load
from darwin_mri.checkpoints.survey import survey
from darwin_mri.merging import Candidate, Merge, Settings, write_child
from darwin_mri.merging.folder_sources import father_source, sibling_source
from darwin_mri.merging.health import _weights
from tests.checkpoints.unpacking.test_adapters import peft_model, save
from tests.checkpoints.unpacking.test_quantised import fp8_block, quantise
from tests.toys import pico_llama


@pytest.fixture(scope="module", params=["adapter", "fp8"])
def parents(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp(request.param)
    model, mother = (pico_llama(root / name, seed=at, dtype="bfloat16") for at, name in enumerate(("model", "mother")))
    if request.param == "adapter":
        return f"{model}+{save(peft_model(model, 1, r=2, target_modules=['q_proj', 'up_proj']), root / 'lora')}", str(
            mother
        )
    quantise(model, {"quant_method": "fp8", "weight_block_size": [20, 20]}, fp8_block)
    return str(model), str(mother)


def test_a_child_has_its_dtype_throughout_and_equals_the_candidate(parents: tuple[str, str], tmp_path: Path) -> None:
    father, mother = (find_model(ref) for ref in parents)
    loaded = load(father, device="cpu", dtype="float32")
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    own = father_source(survey(father.folder))
    merge = Merge(own, (sibling_source(survey(father.folder), mother, own),), None, "linear", Settings(), 1)
    tensors = {
        name: tuple(tensor for tensor in loaded.tensor_names if f".{name}_proj." in tensor) for name in ("q", "up", "o")
    }
    genes = {"q": 0.3, "up": 0.0, "o": 0.7}
    candidate = Candidate(loaded.model, tensors, merge)
    candidate.apply(dict.fromkeys(genes, 0.9))
    candidate.apply(genes)
    moved = {merge.on_disk(name): (name, genes[gene]) for gene in ("q", "o") for name in tensors[gene]}
    files = write_child(
        father.folder,
        tmp_path / "child",
        sorted(moved),
        lambda name: merge.tensor(*moved[name]),
        note={"genealogy": ["x"]},
    )
    child = CheckpointReader(tmp_path / "child")
    assert {child.dtype(name) for name in child.names()} == {torch.bfloat16}
    assert set(files.changed) == moved.keys() and files.genealogy == ("x",)
    note = json.loads((tmp_path / "child" / "darwin_mri.json").read_text())
    assert tuple(note["changed"]) == files.changed and note["shards"] == files.shards
    assert not (tmp_path / "child" / "darwin_parent.json").exists()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, child.tensor(own.disk_names[name]).float()), name
    assert all(gate.passed for gate in _weights(tmp_path / "child", father.folder, True))
    candidate.restore()
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
