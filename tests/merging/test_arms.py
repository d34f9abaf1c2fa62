"""Each arm does what its algebra promises, on parents whose widths, depths, norms and activations differ."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.checkpoints import (
    LoadedModel,
    ffn_matrices,
    find_anatomy,
    load_model,
    load_tokenizer,
    recompute_ffn,
    submodule,
)
from darwin_mri.config import ARMS as NAMED
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Donors
from darwin_mri.merging.arms import ARMS, build_donors, competence, matching
from darwin_mri.merging.arms.edits import keep_marks
from darwin_mri.merging.arms.matching import match
from darwin_mri.merging.arms.moments import Moment, explained, procrustes, ridge
from darwin_mri.merging.arms.shapes import fit_width, fold_activation, fold_gain, norm_gain
from darwin_mri.merging.arms.synthesis import synthesize_texts
from tests.merging import trained_pair
from tests.merging.pairs import context, loaded, source, texts
from tests.toys import pico, pico_gemma4, pico_llama, pico_qwen35

UNEQUAL: dict[str, Any] = {"hidden_size": 40, "num_attention_heads": 4, "head_dim": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pairs")
    return {
        "gemma": pico_gemma4(root / "gemma"),
        "qwen": pico_qwen35(root / "qwen", seed=1),
        "narrow": pico_qwen35(root / "narrow", seed=2, **UNEQUAL),
        "llama": pico_llama(root / "llama", seed=3),
        "phi": pico("phi3", root / "phi", seed=4),
        "mamba": pico("mamba2", root / "mamba", seed=5),
        "neox": pico("gpt_neox", root / "neox", seed=6),
    }


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LoadedModel]:
    return {name: loaded(folder) for name, folder in folders.items() if name != "mamba"}


def test_config_and_registry_name_the_same_arms() -> None:
    assert set(NAMED) == set(ARMS)
    with pytest.raises(ConfigError, match="'grafted' is unknown"):
        build_donors("grafted", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("arm", NAMED)
@pytest.mark.parametrize("mother", ["qwen", "phi"])
def test_donors_have_the_fathers_names_and_shapes(models: dict[str, LoadedModel], arm: str, mother: str) -> None:
    father = models["gemma"]
    donors = Donors(
        build_donors(arm, context(father, models[mother], texts(8, 60), prompts=texts(3, 20, 1), new_tokens=4))
    )
    shapes = {name: parameter.shape for name, parameter in father.model.named_parameters()}
    assert donors.tensors and all(tensor.shape == shapes[name] for name, tensor in donors.tensors.items())
    assert all(tensor.isfinite().all() for tensor in donors.tensors.values())
    assert donors.replacing == (arm == "transplant")
    assert all(torch.tensor(list(layer.fit.values())).isfinite().all() for layer in donors.layers)


@pytest.mark.parametrize("arm", ["aligned", "transplant", "refit", "competence"])
def test_fused_matrices_take_a_mother_of_another_hidden_size(models: dict[str, LoadedModel], arm: str) -> None:
    father = models["phi"]
    donors = Donors(
        build_donors(arm, context(father, models["narrow"], texts(8, 60), prompts=texts(3, 20, 1), new_tokens=4))
    )
    shapes = {name: parameter.shape for name, parameter in father.model.named_parameters()}
    assert donors.tensors and all(tensor.shape == shapes[name] for name, tensor in donors.tensors.items())


def test_folding_reproduces_the_mothers_ffn_behind_the_fathers_norm(models: dict[str, LoadedModel]) -> None:
    """gate' = gate * s_m / s_f gives mlp'(norm_f(h)) == mlp(norm_m(h)) where the activations are equal."""
    father, mother = models["llama"], models["qwen"]
    (f_layer, f_info, _), (m_layer, m_info, m_ffn) = father.ffn(0), mother.ffn(0)
    hidden = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    gains = [norm_gain(layer, info.pre_norm, 32) for layer, info in ((f_layer, f_info), (m_layer, m_info))]
    gate, up, down = ffn_matrices(m_layer, m_ffn)
    assert gate is not None and f_info.pre_norm and m_info.pre_norm
    gate, up, down = fold_gain((gate, up, down), gains[1], gains[0])
    x = submodule(f_layer, f_info.pre_norm)(hidden)
    folded = (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
    expected = recompute_ffn(m_layer, m_ffn, submodule(m_layer, m_info.pre_norm)(hidden))
    assert float((folded - expected).abs().max()) < 1e-6 * max(1.0, float(expected.abs().max()))
    donors = Donors(build_donors("folded", context(father, mother, texts(4, 40), layer_map=(0, 0, 0, 0))))
    assert torch.allclose(donors.tensors["model.layers.0.mlp.gate_proj.weight"][:40], gate, atol=1e-6)


def test_folding_the_activation_is_closer_than_not_folding() -> None:
    t = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    one = torch.ones(1, 1)
    gate, up, _ = fold_activation((one, one, one), "silu", "gelu_pytorch_tanh", 1.0)
    target = torch.nn.functional.silu(t)
    folded = torch.nn.functional.gelu(t @ gate.T, approximate="tanh") * up
    plain = torch.nn.functional.gelu(t, approximate="tanh")
    assert (folded - target).norm() < 0.1 * (plain - target).norm()


def permute_neurons(father: LoadedModel, seed: int = 0) -> LoadedModel:
    """The father with its neurons permuted and half of their signs turned: the same function."""
    twin = replace(father, model=copy.deepcopy(father.model))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(48, generator=generator)
    signs = torch.where(torch.rand(48, generator=generator) < 0.5, -1.0, 1.0)
    with torch.no_grad():
        for layer in twin.layers:
            mlp: Any = layer.get_submodule("mlp")
            mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[order])
            mlp.up_proj.weight.copy_(mlp.up_proj.weight[order] * signs[:, None])
            mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order] * signs[None])
    return twin


@pytest.mark.parametrize("name", ["gemma", "llama"])
def test_neuron_permutation_and_signs_leave_logits_unchanged(models: dict[str, LoadedModel], name: str) -> None:
    tokens = torch.arange(40).reshape(2, 20)
    twin = permute_neurons(models[name])
    with torch.inference_mode():
        expected, got = models[name].model(tokens).logits, twin.model(tokens).logits
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["ridge", "procrustes"])
def test_aligned_undoes_a_permutation_of_the_fathers_neurons(models: dict[str, LoadedModel], kind: str) -> None:
    """Maps near the identity, every neuron back on its place with its sign: the donor is the father's own FFN."""
    father = models["llama"]
    twin = permute_neurons(father)
    donors = Donors(build_donors("aligned", context(father, twin, texts(24, 120), ridge=1e-6, map=kind)))
    own = dict(father.model.named_parameters())
    for name, tensor in donors.tensors.items():
        assert float((tensor - own[name]).norm() / own[name].norm()) < 0.02, name
    assert min(layer.fit["r2_out"] for layer in donors.layers) > 0.99


def test_aligned_under_a_shuffled_layer_map_is_a_null(models: dict[str, LoadedModel]) -> None:
    """Under a wrong layer map the permuted father's FFN does not come out as its own."""
    father = models["llama"]
    twin = permute_neurons(father)
    donors = Donors(build_donors("aligned", context(father, twin, texts(12, 120), layer_map=(1, 2, 3, 0))))
    name = "model.layers.1.mlp.down_proj.weight"
    assert float((donors.tensors[name] - dict(father.model.named_parameters())[name]).norm()) > 0.5


def test_memory_for_one_layer_only_changes_nothing(models: dict[str, LoadedModel]) -> None:
    """Moments of a group of layers or of one at a time, over the same text, are the same moments."""
    one, all_ = (
        Donors(build_donors(arm, context(models["gemma"], models["qwen"], texts(6, 60), memory_gb=size)))
        for arm, size in (("refit", 1e-6), ("refit", 8.0))
    )
    assert one.tensors.keys() == all_.tensors.keys()
    assert all(torch.equal(one.tensors[name], all_.tensors[name]) for name in one.tensors)


def test_refit_explains_more_than_the_neurons_it_starts_from(models: dict[str, LoadedModel]) -> None:
    for start in ("aligned", "transplant"):
        donors = Donors(build_donors("refit", context(models["gemma"], models["qwen"], texts(16, 100), start=start)))
        assert all(layer.fit["r2_refit"] > layer.fit["r2_before"] + 0.1 for layer in donors.layers)


def test_transplant_replaces_the_least_important_first(models: dict[str, LoadedModel]) -> None:
    """The share of neurons of order below r is the mother's; the slots of order 1 stay the father's."""
    father, mother = models["gemma"], models["qwen"]
    donors = Donors(build_donors("transplant", context(father, mother, texts(8, 80))))
    name = "model.layers.2.mlp.up_proj.weight"
    order, own = donors.order(name).flatten(), dict(father.model.named_parameters())[name]
    assert int((order < 0.25).sum()) == 12 and int((order < 1.0).sum()) == 40  # of 48; the mother has 40
    assert torch.equal(donors.tensors[name][order >= 1], own[order >= 1])
    assert torch.equal(donors.order("model.layers.2.mlp.down_proj.weight").flatten(), order)


def test_competence_writes_what_only_the_mother_knows() -> None:
    """Trained parents: the child keeps the father's half of the list and learns the mother's from unanswered prompts.

    It learns nothing with the edited places shuffled, a mother that knows nothing, or completions by the father alone.
    """
    father, mother = trained_pair.father(), trained_pair.mother()
    known, new = trained_pair.KNOWN, trained_pair.NEW
    assert trained_pair.score(father, known) >= 0.9 and trained_pair.score(father, new) <= 0.4
    assert trained_pair.score(mother, new) >= 0.9 and trained_pair.score(mother, known) <= 0.4
    own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
    scores = {}
    for name, teacher, writer, arrange in (
        ("child", mother, "parents", keep_marks),
        ("shuffled places", mother, "parents", trained_pair.shuffle),
        ("ignorant mother", trained_pair.mother(steps=1), "parents", keep_marks),
        ("father alone", mother, "father", keep_marks),
    ):
        c = context(
            father,
            teacher,
            trained_pair.texts(),
            prompts=trained_pair.prompts(),
            protect=("ko",),
            new_tokens=1,
            depth=0.67,
            writer=writer,
            hold=1.0,
        )
        father.model.load_state_dict(Donors(competence.build(c, arrange)).tensors, strict=False)
        scores[name] = trained_pair.score(father, known), trained_pair.score(father, new)
        father.model.load_state_dict(own, strict=False)
    child = scores.pop("child")
    assert child[0] >= 0.9 and child[1] >= 0.7, (child, scores)
    assert max(learned for _, learned in scores.values()) <= 0.45, (child, scores)


def test_the_father_completes_protected_prompts(models: dict[str, LoadedModel]) -> None:
    prompts = tuple(replace(p, language="ko" if i % 2 else "en") for i, p in enumerate(texts(6, 20)))
    c = context(models["gemma"], models["qwen"], prompts=prompts, writer="mother", protect=("ko",), new_tokens=4)
    written = synthesize_texts(c)
    assert {w.author for w in written if w.text.language == "ko"} == {"father"}
    assert {w.author for w in written if w.text.language == "en"} == {"mother"}
    assert all(w.text.text[w.start :] for w in written)


def test_pairs_that_an_arm_cannot_cross_are_refused(models: dict[str, LoadedModel]) -> None:
    for arm in ("raw", "folded"):
        with pytest.raises(
            InputError, match=f"arm {arm} needs equal hidden sizes, father has 32 and mother 40: use aligned"
        ):
            list(build_donors(arm, context(models["gemma"], models["narrow"], texts(2, 40))))
    with pytest.raises(InputError, match="no gate in its FFN: use the arm competence"):
        list(build_donors("raw", context(models["gemma"], models["neox"])))
    with pytest.raises(InputError, match="give prompts"):
        list(build_donors("competence", context(models["gemma"], models["qwen"], texts(2, 40))))
    with pytest.raises(InputError, match="layer 9"):
        list(
            build_donors(
                "competence", context(models["gemma"], models["qwen"], texts(2, 40), layers=(9,), writer="nobody")
            )
        )


def test_competence_takes_a_mother_without_ffn_and_an_ungated_father(
    models: dict[str, LoadedModel], folders: dict[str, Path]
) -> None:
    mamba_source = source(folders["mamba"])
    model = load_model(mamba_source, device="cpu", dtype="float32")
    mamba = LoadedModel(mamba_source, "", model, load_tokenizer(mamba_source), find_anatomy(model))
    for target in ("states", "text"):
        c = context(models["neox"], mamba, texts(6, 60), layer_map=(0,) * 4, writer="nobody", target=target)
        assert len(Donors(build_donors("competence", c)).tensors) == 2


@given(seed=st.integers(0, 1000), extra=st.integers(0, 5))
@settings(max_examples=25)
def test_matching_finds_a_planted_permutation(seed: int, extra: int) -> None:
    """The exact assignment and the greedy one beyond its size agree where the answer is plain."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(12 + extra, generator=generator)[:12]
    noise = 0.3 * (torch.rand(12, 12 + extra, generator=generator) - 0.5)
    noise[torch.arange(12), order] = torch.where(torch.rand(12, generator=generator) < 0.5, -0.9, 0.9)
    for rows, columns, signs in (match(noise), _greedily(noise)):
        assert torch.equal(columns[rows.argsort()], order)
        assert torch.equal(signs[rows.argsort()], noise[torch.arange(12), order].sign())


def _greedily(correlation: torch.Tensor) -> tuple[torch.Tensor, ...]:
    rows, columns = matching._greedy(correlation.abs().numpy())
    rows, columns = torch.from_numpy(rows), torch.from_numpy(columns)
    return rows, columns, correlation[rows, columns].sign()


@given(seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_maps_from_moments_are_the_maps_from_data(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(60, 6, generator=generator)
    y = x @ torch.randn(6, 4, generator=generator) + 0.1 * torch.randn(60, 4, generator=generator)
    xx, xy = Moment(6, 6, torch.device("cpu")), Moment(6, 4, torch.device("cpu"))
    for start in range(0, 60, 17):
        xx.add(x[start : start + 17], x[start : start + 17])
        xy.add(x[start : start + 17], y[start : start + 17])
    t = ridge(xx.sum, xy.sum, 1e-9)
    assert torch.allclose(t.T, torch.linalg.lstsq(x, y).solution, atol=1e-4)
    r2 = 1 - float((y - x @ t.T).square().sum() / y.square().sum())
    assert abs(explained(t, xx.sum, xy.sum, float(y.square().sum())) - r2) < 1e-4
    prior = torch.randn(4, 6, generator=generator)
    assert torch.allclose(ridge(xx.sum, xy.sum, 1e9, prior), prior, atol=1e-3)
    turn = procrustes(xx.sum, xy.sum)
    gram = turn @ turn.T
    assert torch.allclose(gram, gram[0, 0] * torch.eye(4), atol=1e-4)


def test_padded_neurons_are_zero() -> None:
    wide = fit_width(torch.ones(3, 4), 5, 0)
    assert wide.shape == (5, 4) and wide[3:].abs().sum() == 0 and fit_width(wide, 3, 0).shape == (3, 4)
