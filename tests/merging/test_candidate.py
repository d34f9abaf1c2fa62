"""A child in memory equals the child on disk, whatever was applied before and however little is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints import CheckpointReader, LoadedModel, ModelSource, load
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging import Candidate, Merge, RandomSource, Settings, ShuffledSource, write_child
from darwin_mri.merging.folder_sources import father_source
from tests.toys import pico_gemma4

UP, DOWN = ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("family")
    return {
        name: pico_gemma4(root / name, seed=seed, dtype="bfloat16")
        for seed, name in enumerate(("father", "mother", "base"))
    }


@pytest.fixture(scope="module")
def father(folders: dict[str, Path]) -> LoadedModel:
    """The father in memory; every test leaves it as it was."""
    return load(ModelSource("father", folders["father"], None), device="cpu", dtype="float32")


def merge_of(folders: dict[str, Path], father: LoadedModel, method: str) -> Merge:
    sources = {role: father_source(survey(folder)) for role, folder in folders.items()}
    values = (("moments", "deltas"),) if method == "regression" else ()
    settings = Settings(density=0.6, values=values)
    return Merge(sources["father"], (sources["mother"],), sources["base"], method, settings, 1)


def genes_of(father: LoadedModel) -> dict[str, tuple[str, ...]]:
    """A gene for each layer's FFN, one for its other tensors, and one for what lies in no layer: gene -> parameters."""
    genes: dict[str, list[str]] = {}
    for name in father.tensor_names:
        _, _, inner = name.partition(".layers.")
        part = "ffn" if ".mlp." in name else "rest"
        genes.setdefault(f"L{inner.partition('.')[0]}.{part}" if inner else "outside", []).append(name)
    return {gene: tuple(names) for gene, names in genes.items()}


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 15).reshape(2, 6)).logits


@pytest.mark.parametrize("method", OPERATORS)
def test_the_child_in_memory_equals_the_child_on_disk(
    folders: dict[str, Path], father: LoadedModel, tmp_path: Path, method: str
) -> None:
    merge, tensors = merge_of(folders, father, method), genes_of(father)
    candidate = Candidate(father.model, tensors, merge)
    before = logits(father.model)
    genes = {gene: 0.1 + 0.2 * (i % 4) for i, gene in enumerate(tensors)}
    genes["L1.ffn"] = 0.0
    candidate.apply(dict.fromkeys(genes, 0.9))  # an earlier candidate must leave no trace
    candidate.apply(genes)
    ratios = {name: genes[gene] for gene, names in tensors.items() for name in names if genes[gene]}
    by_disk_name = {merge.on_disk(name): name for name in ratios}
    files = write_child(
        folders["father"],
        tmp_path / "child",
        sorted(by_disk_name),
        lambda name: merge.tensor(by_disk_name[name], ratios[by_disk_name[name]]),
        note={},
    )
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "child", dtype=torch.float32)
    assert torch.equal(logits(written), logits(father.model))
    assert not any("layers.1.mlp." in name for name in files.changed) and files.changed
    candidate.restore()
    assert torch.equal(logits(father.model), before)


@pytest.mark.parametrize("method", OPERATORS)
def test_every_tensor_in_memory_equals_the_merge_at_ratio_one(
    folders: dict[str, Path], father: LoadedModel, method: str
) -> None:
    """Also where earlier ratios have left a kept blend, which does not know the mother's own tensor."""
    merge, tensors = merge_of(folders, father, method), genes_of(father)
    candidate = Candidate(father.model, tensors, merge)
    for ratio in (0.4, 1.0):
        candidate.apply(dict.fromkeys(tensors, ratio))
    for name in candidate.parameters:
        assert torch.equal(candidate.parameters[name], merge.tensor(name, 1.0).float()), name
    candidate.restore()


def test_a_shuffled_or_random_parent_keeps_the_task_vectors_norm(folders: dict[str, Path], father: LoadedModel) -> None:
    merge = merge_of(folders, father, "task_arithmetic")
    (mother,) = merge.others
    plain = merge.direction(UP, 1.0)
    for null in (merge.shuffled(), replace(merge, others=(RandomSource(mother, merge.base, seed=1),))):
        broken = null.direction(UP, 1.0)
        torch.testing.assert_close(broken.norm(), plain.norm(), rtol=1e-3, atol=0)
        assert abs(float(torch.cosine_similarity(broken.flatten(), plain.flatten(), dim=0))) < 0.2


def test_a_null_parent_without_an_origin_is_changed_whole(folders: dict[str, Path], father: LoadedModel) -> None:
    (mother,) = merge_of(folders, father, "linear").others
    plain = mother.tensor(DOWN).float()
    shuffled, random = (kind(mother, seed=1).tensor(DOWN) for kind in (ShuffledSource, RandomSource))
    assert torch.equal(shuffled.flatten().sort().values, plain.flatten().sort().values)
    torch.testing.assert_close(random.norm(dim=0), plain.norm(dim=0))  # neurons are columns of a down projection
    assert not torch.equal(shuffled, plain) and not torch.equal(random, plain)


def test_unchanged_tensors_are_the_fathers_bytes(folders: dict[str, Path], father: LoadedModel) -> None:
    merge = merge_of(folders, father, "dare_ties")
    with CheckpointReader(folders["father"]) as reader:
        for name in father.tensor_names[:5]:
            assert torch.equal(merge.tensor(name, 0.0), reader.tensor(merge.on_disk(name)))


def test_exceptions_set_a_tensors_own_settings(folders: dict[str, Path], father: LoadedModel) -> None:
    """Densities and ratios by tensor: in memory as in a written recipe."""
    merge, tensors = merge_of(folders, father, "dare_ties"), genes_of(father)
    candidate = Candidate(father.model, tensors, merge)
    genes = dict.fromkeys(tensors, 0.5)
    candidate.apply(genes)
    up, down = candidate.parameters[UP].clone(), candidate.parameters[DOWN].clone()
    candidate.apply(genes, {"*layers.0.mlp.up_proj.weight": {"density": 0.2, "ratio": 0.9}})
    expected = replace(merge, exceptions={"*.up_proj.*": {"density": 0.2}}).tensor(UP, 0.9)
    assert torch.equal(candidate.parameters[UP], expected.float()) and not torch.equal(candidate.parameters[UP], up)
    assert torch.equal(candidate.parameters[DOWN], down)
    candidate.apply(genes, {})
    assert torch.equal(candidate.parameters[UP], up)
    with pytest.raises(ConfigError, match="'densty' is unknown"):
        candidate.apply(genes, {"*": {"densty": 0.2}})
    candidate.restore()


def test_a_small_memory_changes_no_bit(folders: dict[str, Path], father: LoadedModel) -> None:
    merge, tensors = merge_of(folders, father, "ties"), genes_of(father)
    children, kept_out = [], []
    for keep in (None, 20_000, 0):
        candidate = Candidate(father.model, tensors, merge, keep_bytes=keep)
        for ratio in (0.3, 0.7):
            candidate.apply(dict.fromkeys(tensors, ratio))
        children.append(logits(father.model))
        kept_out.append(len(candidate.kept_out))
        candidate.restore()
    assert kept_out[0] == 0 < kept_out[1] < kept_out[2] == len(father.tensor_names)
    assert torch.equal(children[0], children[1]) and torch.equal(children[0], children[2])


def test_a_merge_takes_one_to_seven_other_parents(folders: dict[str, Path], father: LoadedModel) -> None:
    merge = merge_of(folders, father, "ties")
    for others in ((), merge.others * 8):
        reason = f"ties merges the father with 1 to 7 other parents, not with {len(others)}"
        with pytest.raises(ConfigError, match=reason):
            replace(merge, others=others)
