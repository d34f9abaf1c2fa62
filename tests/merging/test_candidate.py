"""A child in memory equals the child on disk; arms put the mother's FFN into the father's shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints import ModelSource, effective_gain, ffn_matrices, layer_modules, recompute_ffn, submodule
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.config import Config
from darwin_mri.errors import InputError
from darwin_mri.merging import Candidate, write_child
from darwin_mri.merging.crossbreed import build_donors, fit_width, fold_activation
from darwin_mri.stages.merging import Breed, breed_siblings
from darwin_mri.stages.parents import Loaded, load
from tests.toys import pico_gemma4, pico_qwen35

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


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Loaded, Loaded]:
    root = tmp_path_factory.mktemp("pair")
    father = load(source(pico_gemma4(root / "father")), "0", device="cpu", dtype="float32")
    return father, load(source(pico_qwen35(root / "mother")), "1", device="cpu", dtype="float32")


def test_norm_folding_reproduces_the_mothers_ffn_behind_the_fathers_norm(pair: tuple[Loaded, Loaded]) -> None:
    """gate' = gate * s_m / s_f: mlp'(norm_f(h)) == mlp(norm_m(h)), architectures.md section 4."""
    father, mother = pair
    f_info, m_info = father.anatomy.layers[0], mother.anatomy.layers[0]
    f_layer, m_layer = layer_modules(father.model, father.anatomy)[0], layer_modules(mother.model, mother.anatomy)[0]
    assert f_info.pre_norm and m_info.pre_norm and m_info.ffn
    hidden = torch.randn(5, father.anatomy.hidden_size, generator=torch.Generator().manual_seed(0))
    norms = [submodule(layer, info.pre_norm) for layer, info in ((f_layer, f_info), (m_layer, m_info)) if info.pre_norm]
    gains = [effective_gain(norm, hidden.shape[-1])[0] for norm in norms]
    gate, up, down = ffn_matrices(m_layer, m_info.ffn)
    assert gate is not None
    scale = (gains[1] / gains[0]).unsqueeze(0)
    x = norms[0](hidden)
    folded = (torch.nn.functional.silu(x @ (gate * scale).T) * (x @ (up * scale).T)) @ down.T
    torch.testing.assert_close(folded, recompute_ffn(m_layer, m_info.ffn, norms[1](hidden)), rtol=1e-4, atol=1e-6)


def test_folding_the_activation_is_closer_than_not_folding() -> None:
    t = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    gate, up = fold_activation(torch.ones(1, 1), torch.ones(1, 1), "silu", "gelu_pytorch_tanh", 1.0)
    wanted = torch.nn.functional.silu(t)
    folded = torch.nn.functional.gelu(t @ gate.T, approximate="tanh") * up
    plain = torch.nn.functional.gelu(t, approximate="tanh")
    assert (folded - wanted).norm() < 0.1 * (plain - wanted).norm()


def test_donors_have_the_fathers_shapes_and_padding_is_exact(pair: tuple[Loaded, Loaded]) -> None:
    father, mother = pair
    shapes = {n: p.shape for n, p in father.model.named_parameters()}
    layer_map = [min(i, len(mother.anatomy.layers) - 1) for i in range(len(father.anatomy.layers))]
    for arm in ("raw", "folded"):
        donors = build_donors(arm, father.model, father.anatomy, mother.model, mother.anatomy, layer_map, [1.0] * 8)
        assert donors.tensors and all(tensor.shape == shapes[name] for name, tensor in donors.tensors.items())
    wide = fit_width(torch.ones(3, 4), 5, 0)
    assert wide.shape == (5, 4) and wide[3:].abs().sum() == 0 and fit_width(wide, 3, 0).shape == (3, 4)


def test_parents_of_unequal_hidden_size_cannot_be_crossed(pair: tuple[Loaded, Loaded], tmp_path: Path) -> None:
    father, _ = pair
    other = load(source(pico_qwen35(tmp_path / "m", hidden_size=48)), "1", device="cpu", dtype="float32")
    with pytest.raises(InputError, match="equal hidden sizes"):
        build_donors("raw", father.model, father.anatomy, other.model, other.anatomy, [0] * 8, [1.0] * 8)


def test_strangers_are_no_siblings(pair: tuple[Loaded, Loaded]) -> None:
    father, mother = pair
    with pytest.raises(InputError, match="no sibling.*method raw or folded"):
        breed_siblings(Config(father="f", mother="m"), father, mother.source, None)


def test_unchanged_tensors_are_the_fathers_bytes(folders: dict[str, Path]) -> None:
    _, breed = siblings(folders, "dare_ties")
    with CheckpointReader(folders["father"]) as reader:
        for name in list(breed.space.gene_of())[:5]:
            assert torch.equal(breed.merge.tensor(name, 0.0), reader.tensor(breed.father.disk_names[name]))
