"""Each arm does what its algebra promises, on parents of real families whose widths, depths, norms and activations differ."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.checkpoints import ffn_matrices, find_anatomy, load_model, load_tokenizer, recompute_ffn, submodule
from darwin_mri.config import ARMS as NAMED
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Donors
from darwin_mri.merging.arms import ARMS, Side, build_donors, matching
from darwin_mri.merging.arms.matching import match
from darwin_mri.merging.arms.moments import Moment, explained, procrustes, ridge
from darwin_mri.merging.arms.shapes import fit_width, fold_activation, fold_gain, norm_gain
from darwin_mri.merging.arms.writing import write_texts
from tests.merging import school
from tests.merging.pairs import context, side, source, texts
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
def sides(folders: dict[str, Path]) -> dict[str, Side]:
    return {name: side(folder) for name, folder in folders.items() if name != "mamba"}


def test_config_and_registry_name_the_same_arms() -> None:
    assert set(NAMED) == set(ARMS)
    with pytest.raises(ConfigError, match="'grafted' is unknown"):
        build_donors("grafted", None)  # type: ignore[arg-type]


@pytest.mark.parametrize("arm", NAMED)
@pytest.mark.parametrize("mother", ["qwen", "phi"])
def test_donors_have_the_fathers_names_and_shapes(sides: dict[str, Side], arm: str, mother: str) -> None:
    father = sides["gemma"]
    made = Donors(
        build_donors(arm, context(father, sides[mother], texts(8, 60), prompts=texts(3, 20, 1), new_tokens=4))
    )
    shapes = {name: parameter.shape for name, parameter in father.model.named_parameters()}
    assert made.tensors and all(tensor.shape == shapes[name] for name, tensor in made.tensors.items())
    assert all(tensor.isfinite().all() for tensor in made.tensors.values())
    assert made.replacing == (arm == "transplant")
    assert all(torch.tensor(list(layer.fit.values())).isfinite().all() for layer in made.layers)


@pytest.mark.parametrize("arm", ["aligned", "transplant", "refit", "competence"])
def test_a_father_with_fused_matrices_takes_a_mother_of_another_hidden_size(sides: dict[str, Side], arm: str) -> None:
    father = sides["phi"]
    made = Donors(
        build_donors(arm, context(father, sides["narrow"], texts(8, 60), prompts=texts(3, 20, 1), new_tokens=4))
    )
    shapes = {name: parameter.shape for name, parameter in father.model.named_parameters()}
    assert made.tensors and all(tensor.shape == shapes[name] for name, tensor in made.tensors.items())


def test_folding_reproduces_the_mothers_ffn_behind_the_fathers_norm(sides: dict[str, Side]) -> None:
    """gate' = gate * s_m / s_f: mlp'(norm_f(h)) == mlp(norm_m(h)) to 1e-6 in fp32 (architectures of equal activation)."""
    father, mother = sides["llama"], sides["qwen"]
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
    made = Donors(build_donors("folded", context(father, mother, texts(4, 40), layer_map=(0, 0, 0, 0))))
    assert torch.allclose(made.tensors["model.layers.0.mlp.gate_proj.weight"][:40], gate, atol=1e-6)


def test_folding_the_activation_is_closer_than_not_folding() -> None:
    t = torch.randn(4000, 1, generator=torch.Generator().manual_seed(1))
    one = torch.ones(1, 1)
    gate, up, _ = fold_activation((one, one, one), "silu", "gelu_pytorch_tanh", 1.0)
    wanted = torch.nn.functional.silu(t)
    folded = torch.nn.functional.gelu(t @ gate.T, approximate="tanh") * up
    plain = torch.nn.functional.gelu(t, approximate="tanh")
    assert (folded - wanted).norm() < 0.1 * (plain - wanted).norm()


def in_disguise(father: Side, seed: int = 0) -> tuple[Side, torch.Tensor]:
    """The father with its neurons permuted and half of their signs turned: the same function. Also the permutation."""
    twin = Side(copy.deepcopy(father.model), father.tokenizer, father.anatomy)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(48, generator=generator)
    signs = torch.where(torch.rand(48, generator=generator) < 0.5, -1.0, 1.0)
    with torch.no_grad():
        for layer in twin.layers:
            mlp: Any = layer.get_submodule("mlp")
            mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[order])
            mlp.up_proj.weight.copy_(mlp.up_proj.weight[order] * signs[:, None])
            mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order] * signs[None])
    return twin, order


@pytest.mark.parametrize("name", ["gemma", "llama"])
def test_neuron_permutation_and_signs_leave_logits_unchanged(sides: dict[str, Side], name: str) -> None:
    tokens = torch.arange(40).reshape(2, 20)
    twin, _ = in_disguise(sides[name])
    with torch.inference_mode():
        expected, got = sides[name].model(tokens).logits, twin.model(tokens).logits
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["ridge", "procrustes"])
def test_aligned_finds_the_father_in_disguise(sides: dict[str, Side], kind: str) -> None:
    """Maps near the identity, every neuron back on its place with its sign: the donor is the father's own FFN."""
    father = sides["llama"]
    twin, _ = in_disguise(father)
    made = Donors(build_donors("aligned", context(father, twin, texts(24, 120), ridge=1e-6, map=kind)))
    own = dict(father.model.named_parameters())
    for name, tensor in made.tensors.items():
        assert float((tensor - own[name]).norm() / own[name].norm()) < 0.02, name
    assert min(layer.fit["r2_out"] for layer in made.layers) > 0.99


def test_a_shuffled_map_is_a_null(sides: dict[str, Side]) -> None:
    """With the map's output coordinates permuted the same disguise is not seen through."""
    father = sides["llama"]
    twin, _ = in_disguise(father)
    made = Donors(build_donors("aligned", context(father, twin, texts(12, 120), nulls=frozenset({"map"}))))
    name = "model.layers.1.mlp.down_proj.weight"
    assert float((made.tensors[name] - dict(father.model.named_parameters())[name]).norm()) > 0.5


def test_memory_for_one_layer_only_changes_nothing(sides: dict[str, Side]) -> None:
    """Moments of a group of layers or of one at a time, over the same text, are the same moments."""
    one, all_ = (
        Donors(build_donors(arm, context(sides["gemma"], sides["qwen"], texts(6, 60), memory_gb=size)))
        for arm, size in (("refit", 1e-6), ("refit", 8.0))
    )
    assert one.tensors.keys() == all_.tensors.keys()
    assert all(torch.equal(one.tensors[name], all_.tensors[name]) for name in one.tensors)


def test_refit_reads_the_same_neurons_better(sides: dict[str, Side]) -> None:
    for start in ("aligned", "transplant"):
        made = Donors(build_donors("refit", context(sides["gemma"], sides["qwen"], texts(16, 100), start=start)))
        assert all(layer.fit["r2_refit"] > layer.fit["r2_before"] + 0.1 for layer in made.layers)


def test_transplant_replaces_the_least_important_first(sides: dict[str, Side]) -> None:
    """Order r: the share of neurons below it is the mother's; the slots are distinct, the last ones are never hers."""
    father, mother = sides["gemma"], sides["qwen"]
    made = Donors(build_donors("transplant", context(father, mother, texts(8, 80))))
    name = "model.layers.2.mlp.up_proj.weight"
    order, own = made.order(name).flatten(), dict(father.model.named_parameters())[name]
    assert int((order < 0.25).sum()) == 12 and int((order < 1.0).sum()) == 40  # of 48; the mother has 40
    assert torch.equal(made.tensors[name][order >= 1], own[order >= 1])
    assert torch.equal(made.order("model.layers.2.mlp.down_proj.weight").flatten(), order)


def test_competence_writes_what_only_the_mother_knows_into_the_father() -> None:
    """Trained parents: the child keeps the father's half of the list and learns hers from prompts without answers, in closed form.
    It does not with the taught tokens shuffled, the map permuted, an ignorant mother, or the father alone writing."""
    father, mother = school.father(), school.mother()
    assert school.score(father, school.KNOWN) >= 0.9 and school.score(father, school.NEW) <= 0.4
    assert school.score(mother, school.NEW) >= 0.9 and school.score(mother, school.KNOWN) <= 0.4
    own = {name: parameter.detach().clone() for name, parameter in father.model.named_parameters()}
    found = {}
    for name, teacher, changes in (
        ("child", mother, {}),
        ("shuffled mask", mother, {"nulls": frozenset({"mask"})}),
        ("shuffled map", mother, {"nulls": frozenset({"map"})}),
        ("ignorant mother", school.mother(steps=1), {}),
        ("father alone", mother, {"writer": "father"}),
    ):
        c = context(
            father,
            teacher,
            school.reading(),
            prompts=school.prompts(),
            protect=("ko",),
            new_tokens=1,
            depth=0.67,
            **changes,
        )
        father.model.load_state_dict(Donors(build_donors("competence", c)).tensors, strict=False)
        found[name] = school.score(father, school.KNOWN), school.score(father, school.NEW)
        father.model.load_state_dict(own, strict=False)
    child = found.pop("child")
    assert child[0] >= 0.9 and child[1] >= 0.7, (child, found)
    assert max(new for _, new in found.values()) <= 0.45, (child, found)


def test_the_father_writes_what_is_protected(sides: dict[str, Side]) -> None:
    asked = tuple(replace(p, language="ko" if i % 2 else "en") for i, p in enumerate(texts(6, 20)))
    c = context(sides["gemma"], sides["qwen"], prompts=asked, writer="mother", protect=("ko",), new_tokens=4)
    written = write_texts(c)
    assert {w.author for w in written if w.text.language == "ko"} == {"father"}
    assert {w.author for w in written if w.text.language == "en"} == {"mother"}
    assert all(w.text.text[w.start :] for w in written)


def test_what_cannot_be_crossed_is_refused_in_words(sides: dict[str, Side]) -> None:
    for arm in ("raw", "folded"):
        with pytest.raises(
            InputError, match=f"arm {arm} needs equal hidden sizes, father has 32 and mother 40: use aligned"
        ):
            list(build_donors(arm, context(sides["gemma"], sides["narrow"], texts(2, 40))))
    with pytest.raises(InputError, match="no gate in its FFN: use the arm competence"):
        list(build_donors("raw", context(sides["gemma"], sides["neox"])))
    with pytest.raises(InputError, match="give prompts"):
        list(build_donors("competence", context(sides["gemma"], sides["qwen"], texts(2, 40))))
    with pytest.raises(InputError, match="layer 9"):
        list(
            build_donors(
                "competence", context(sides["gemma"], sides["qwen"], texts(2, 40), layers=(9,), writer="nobody")
            )
        )


def test_competence_needs_no_ffn_in_the_mother_and_no_gate_in_the_father(
    sides: dict[str, Side], folders: dict[str, Path]
) -> None:
    model = load_model(source(folders["mamba"]), device="cpu", dtype="float32")
    mamba = Side(model, load_tokenizer(source(folders["mamba"])), find_anatomy(model))
    for target in ("states", "text"):
        c = context(sides["neox"], mamba, texts(6, 60), layer_map=(0,) * 4, writer="nobody", target=target)
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


def test_padding_is_exact() -> None:
    wide = fit_width(torch.ones(3, 4), 5, 0)
    assert wide.shape == (5, 4) and wide[3:].abs().sum() == 0 and fit_width(wide, 3, 0).shape == (3, 4)
