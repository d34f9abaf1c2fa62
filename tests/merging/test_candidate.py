"""A child in memory equals the child on disk, whatever was applied before and however little is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints import ModelSource
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.config import Config
from darwin_mri.errors import ConfigError
from darwin_mri.merging import Candidate, write_child
from darwin_mri.stages.merging import Breed, breed_siblings
from darwin_mri.stages.parents import Loaded, load
from tests.toys import pico_gemma4

METHODS = ("linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties", "della")


def source(folder: Path) -> ModelSource:
    return ModelSource(folder.name, folder, None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("family")
    return {
        name: pico_gemma4(root / name, seed=seed, dtype="bfloat16")
        for seed, name in enumerate(("father", "mother", "base"))
    }


def siblings(folders: dict[str, Path], method: str) -> tuple[Loaded, Breed]:
    father = load(source(folders["father"]), "0", device="cpu", dtype="float32")
    config = Config(father="f", mother="m", base="b", method=method, density=0.6)  # type: ignore[arg-type]
    return father, breed_siblings(config, father, source(folders["mother"]), source(folders["base"]))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 15).reshape(2, 6)).logits


@pytest.mark.parametrize("method", METHODS)
def test_the_child_in_memory_equals_the_child_on_disk(folders: dict[str, Path], tmp_path: Path, method: str) -> None:
    father, breed = siblings(folders, method)
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    before = logits(father.model)
    genes = {gene.name: 0.1 + 0.2 * (i % 4) for i, gene in enumerate(breed.space.genes)}
    genes["L1.ffn"] = 0.0
    candidate.apply(dict.fromkeys(genes, 0.9))  # an earlier candidate must leave no trace
    candidate.apply(genes)
    ratio = {t: genes[g] for t, g in breed.space.gene_of().items() if genes[g]}
    disk = {breed.father.disk_names[name]: name for name in ratio}
    files = write_child(
        folders["father"],
        tmp_path / "child",
        sorted(disk),
        lambda n: breed.merge.tensor(disk[n], ratio[disk[n]]),
        note={},
    )
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "child", dtype=torch.float32)
    assert torch.equal(logits(written), logits(father.model))
    assert not any("layers.1.mlp." in name for name in files.changed) and files.changed
    candidate.restore()
    assert torch.equal(logits(father.model), before)


def test_a_shuffled_donor_keeps_the_task_vectors_norm(folders: dict[str, Path]) -> None:
    _, breed = siblings(folders, "task_arithmetic")
    name = next(iter(breed.space.gene_of()))
    plain, mixed = (b.merge.direction(name, 1.0) for b in (breed, breed.shuffled()))
    torch.testing.assert_close(mixed.norm(), plain.norm(), rtol=1e-3, atol=0)
    assert not torch.equal(plain, mixed)


def test_unchanged_tensors_are_the_fathers_bytes(folders: dict[str, Path]) -> None:
    _, breed = siblings(folders, "dare_ties")
    with CheckpointReader(folders["father"]) as reader:
        for name in list(breed.space.gene_of())[:5]:
            assert torch.equal(breed.merge.tensor(name, 0.0), reader.tensor(breed.father.disk_names[name]))


def test_exceptions_set_a_tensors_own_settings(folders: dict[str, Path]) -> None:
    """Densities and ratios by tensor: in memory as in a written recipe."""
    father, breed = siblings(folders, "dare_ties")
    up, down = ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight")
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    genes = {gene.name: 0.5 for gene in breed.space.genes}
    candidate.apply(genes)
    before = candidate.parameters[up].clone(), candidate.parameters[down].clone()
    candidate.apply(genes, {"*layers.0.mlp.up_proj.weight": {"density": 0.2, "ratio": 0.9}})
    wanted = replace(breed.merge, exceptions={"*.up_proj.*": {"density": 0.2}}).tensor(up, 0.9)
    assert torch.equal(candidate.parameters[up], wanted.float()) and not torch.equal(
        candidate.parameters[up], before[0]
    )
    assert torch.equal(candidate.parameters[down], before[1])
    candidate.apply(genes, {})
    assert torch.equal(candidate.parameters[up], before[0])
    with pytest.raises(ConfigError, match="'densty' is unknown"):
        candidate.apply(genes, {"*": {"densty": 0.2}})
    candidate.restore()


def test_a_small_memory_changes_no_bit(folders: dict[str, Path]) -> None:
    father, breed = siblings(folders, "ties")
    genes = {gene.name: 0.7 for gene in breed.space.genes}
    made = []
    for keep in (None, 20_000, 0):
        candidate = Candidate(father.model, breed.tensors(), breed.merge, keep_bytes=keep)
        for ratio in (0.3, 0.7):
            candidate.apply(dict.fromkeys(genes, ratio))
        made.append(logits(father.model))
        candidate.restore()
    assert torch.equal(made[0], made[1]) and torch.equal(made[0], made[2])
