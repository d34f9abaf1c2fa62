"""The anatomy is found by data flow in families that agree on few names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints import (
    activation_function,
    effective_gain,
    ffn_matrices,
    find_anatomy,
    find_model,
    layer_modules,
    load_model,
    require_ffn,
    submodule,
)
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError
from tests import toys

GLU = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
FUSED = ("mlp.gate_up_proj", "mlp.gate_up_proj", "mlp.down_proj")
TANH = "gelu_pytorch_tanh"
AFTER_ATTENTION = "post_attention_layernorm"
SANDWICH = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
# family -> layer list, projections, activation, norms around the FFN
NEXT = (AFTER_ATTENTION, None)  # the norm before the FFN bears this name in most families, and no norm follows
UP_DOWN = (None, "mlp.up_proj", "mlp.down_proj")
EXPECTED: dict[str, tuple[str, tuple[str | None, str, str], str, tuple[str | None, str | None]]] = {
    "gemma4_text": ("model.layers", GLU, TANH, SANDWICH),
    "gemma": ("model.layers", GLU, TANH, NEXT),
    "gemma2": ("model.layers", GLU, TANH, SANDWICH),
    "gemma3_text": ("model.layers", GLU, TANH, SANDWICH),
    "qwen2": ("model.layers", GLU, "silu", NEXT),
    "qwen3": ("model.layers", GLU, "silu", NEXT),
    "qwen3_5_text": ("model.layers", GLU, "silu", NEXT),
    "llama": ("model.layers", GLU, "silu", NEXT),
    "mistral": ("model.layers", GLU, "silu", NEXT),
    "granite": ("model.layers", GLU, "silu", NEXT),
    "smollm3": ("model.layers", GLU, "silu", NEXT),
    "helium": ("model.layers", GLU, "silu", NEXT),
    "olmo": ("model.layers", GLU, "silu", NEXT),
    "olmo2": ("model.layers", GLU, "silu", (None, "post_feedforward_layernorm")),
    "olmo3": ("model.layers", GLU, "silu", (None, "post_feedforward_layernorm")),
    "exaone4": ("model.layers", GLU, "silu", (None, "post_feedforward_layernorm")),
    "glm": ("model.layers", FUSED, "silu", NEXT),
    "glm4": ("model.layers", FUSED, "silu", (AFTER_ATTENTION, "post_mlp_layernorm")),
    "stablelm": ("model.layers", GLU, "silu", NEXT),
    "hyperclovax": ("model.layers", GLU, "silu", (AFTER_ATTENTION, "post_norm2")),
    "phi": ("model.layers", (None, "mlp.fc1", "mlp.fc2"), "gelu_new", ("input_layernorm", None)),
    "phi3": ("model.layers", FUSED, "silu", NEXT),
    "gpt2": ("transformer.h", (None, "mlp.c_fc", "mlp.c_proj"), "gelu_new", ("ln_2", None)),
    "gptj": ("transformer.h", (None, "mlp.fc_in", "mlp.fc_out"), "gelu_new", ("ln_1", None)),
    "gpt_neox": ("gpt_neox.layers", (None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), "gelu", NEXT),
    "falcon": (
        "transformer.h", (None, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), "gelu", ("input_layernorm", None),
    ),
    "falcon_h1": (
        "model.layers", ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"), "silu",
        ("pre_ff_layernorm", None),
    ),
    "starcoder2": ("model.layers", (None, "mlp.c_fc", "mlp.c_proj"), TANH, NEXT),
    "cohere": ("model.layers", GLU, "silu", ("input_layernorm", None)),
    "cohere2": ("model.layers", GLU, "silu", ("input_layernorm", None)),
    "arcee": ("model.layers", UP_DOWN, "relu2", NEXT),
    "nemotron": ("model.layers", UP_DOWN, "relu2", NEXT),
    "bamba": (
        "model.layers", ("feed_forward.gate_proj", "feed_forward.up_proj", "feed_forward.down_proj"), "silu",
        ("pre_ff_layernorm", None),
    ),
    "lfm2": ("model.layers", ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2"), "silu", ("ffn_norm", None)),
    "recurrent_gemma": (
        "model.layers", ("mlp_block.gate_proj", "mlp_block.up_proj", "mlp_block.down_proj"), TANH,
        ("channel_pre_norm", None),
    ),
}  # fmt: skip
# family -> which layers have a plain FFN, and the reason given where one has not
WITHOUT: dict[str, tuple[list[bool], str]] = {
    "mamba2": ([False] * 2, "no FFN here"),
    "mixtral": ([False] * 4, "mixture of experts"),
    "qwen2_moe": ([False] * 4, "mixture of experts"),
    "qwen3_moe": ([True, False] * 2, "mixture of experts"),
    "olmoe": ([False] * 4, "mixture of experts"),
    "deepseek_v2": ([True, False, False, False], "mixture of experts"),
    "deepseek_v3": ([True, False, False, False], "mixture of experts"),
    "llama4_text": ([True, False] * 2, "mixture of experts"),
    "jamba": ([True, False] * 2, "mixture of experts"),
    "gpt_oss": ([False] * 4, "mixture of experts"),
    "granitemoehybrid": ([False] * 4, "mixture of experts"),
    "apertus": ([False] * 4, "activation without a name"),
}


# family -> changes, router, what every token passes, experts, experts per token, modules of the increment
FOUR: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}
MIXTURES: dict[str, tuple[dict[str, Any], str, tuple[str, ...], int, tuple[str, ...]]] = {
    "mixtral": ({"num_local_experts": 4}, "mlp.gate", (), 4, ("mlp",)),
    "qwen2_moe": (FOUR, "mlp.gate", ("mlp.shared_expert", "mlp.shared_expert_gate"), 4, ("mlp",)),
    "qwen3_moe": (FOUR, "mlp.gate", (), 4, ("mlp",)),
    "olmoe": (FOUR, "mlp.gate", (), 4, ("mlp",)),
    "deepseek_v2": ({"num_experts_per_tok": 2}, "mlp.gate", ("mlp.shared_experts",), 2, ("mlp",)),
    "deepseek_v3": ({}, "mlp.gate", ("mlp.shared_experts",), 4, ("mlp",)),
    "llama4_text": (
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        "feed_forward.router", ("feed_forward.shared_expert",), 4, ("feed_forward",),
    ),
    "jamba": (FOUR, "feed_forward.router", (), 4, ("feed_forward",)),
    "gpt_oss": ({"num_local_experts": 4, "num_experts_per_tok": 2}, "mlp.router", (), 4, ("mlp",)),
    "granitemoehybrid": (
        {"num_local_experts": 4, "num_experts_per_tok": 2},
        "block_sparse_moe.router", ("shared_mlp",), 4, ("block_sparse_moe", "shared_mlp"),
    ),
    "gemma4_text": (
        {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24},
        "router", ("mlp",), 4, ("post_feedforward_layernorm",),
    ),
}  # fmt: skip


def _load(folder: Path, dtype: str = "auto") -> Any:
    return load_model(find_model(str(folder)), device="cpu", dtype=dtype)


@pytest.mark.parametrize("family", EXPECTED)
def test_parts_are_found(family: str, tmp_path: Path) -> None:
    model = _load(toys.pico(family, tmp_path / family))
    anatomy = find_anatomy(model)
    prefix, projections, activation, norms = EXPECTED[family]
    assert (anatomy.family, anatomy.prefix, anatomy.hidden_size) == (family, prefix, toys.HIDDEN)
    assert len(anatomy.layers) == toys.LAYERS
    width = 40 if family == "qwen3_5_text" else toys.WIDTH
    assert anatomy.ffn_size == width
    for info, layer in zip(anatomy.layers, layer_modules(model, anatomy), strict=True):
        ffn = info.ffn
        assert ffn is not None and info.note == ""
        assert (ffn.gate, ffn.up, ffn.down) == projections
        assert ffn.activation == activation
        assert (info.pre_norm, info.post_norm) == norms
        assert ffn.fused_gate_up == (projections[0] == projections[1])
        assert ffn.transposed == (family == "gpt2")
        assert ffn.validation_error < 1e-4
        gate, up, down = ffn_matrices(layer, ffn)
        assert up.shape == (width, toys.HIDDEN) and down.shape == (toys.HIDDEN, width)
        assert (gate is None) == (projections[0] is None)
    require_ffn(anatomy, family)


def test_matrices_alone_give_the_ffn(tmp_path: Path) -> None:
    """Independent of the module's own validation: a gated and a fused FFN written out."""
    for family in ("gemma4_text", "phi3"):
        model = _load(toys.pico(family, tmp_path / family))
        anatomy = find_anatomy(model)
        layer, ffn = layer_modules(model, anatomy)[1], anatomy.layers[1].ffn
        assert ffn is not None
        gate, up, down = ffn_matrices(layer, ffn)
        assert gate is not None
        x = torch.randn(5, toys.HIDDEN)
        neurons = activation_function(ffn.activation)(x @ gate.T) * (x @ up.T)
        torch.testing.assert_close(neurons @ down.T, submodule(layer, ffn.module)(x), atol=1e-5, rtol=1e-4)


def test_mixers_are_named(tmp_path: Path) -> None:
    qwen = find_anatomy(_load(toys.pico_qwen35(tmp_path / "qwen")))
    assert [layer.mixer for layer in qwen.layers] == ["linear_attention"] * 3 + ["full_attention"]
    assert [layer.mixer_module for layer in qwen.layers] == ["linear_attn"] * 3 + ["self_attn"]
    gemma = find_anatomy(_load(toys.pico_gemma4(tmp_path / "gemma")))
    assert [layer.mixer for layer in gemma.layers] == ["sliding_attention", "full_attention"] * 2
    gpt2 = find_anatomy(_load(toys.pico("gpt2", tmp_path / "gpt2")))
    assert {(layer.mixer, layer.mixer_module) for layer in gpt2.layers} == {("full_attention", "attn")}


def test_wrappers_have_the_anatomy_of_their_text_model(tmp_path: Path) -> None:
    """The vision tower has as many layers as the decoder here, with the same names."""
    for pico, prefix in ((toys.pico_gemma4, "model.language_model.layers"), (toys.pico_qwen35, "model.layers")):
        text = find_anatomy(_load(pico(tmp_path / f"{pico.__name__}-text")))
        wrapped = find_anatomy(_load(pico(tmp_path / f"{pico.__name__}-wrapped", wrapped=True)))
        assert wrapped.prefix == prefix
        assert wrapped.model_copy(update={"prefix": text.prefix}) == text


def test_bfloat16_is_validated_too(tmp_path: Path) -> None:
    for family in ("gemma4_text", "phi3", "gpt2"):
        anatomy = find_anatomy(_load(toys.pico(family, tmp_path / family, dtype="bfloat16")))
        assert all(layer.ffn is not None for layer in anatomy.layers)


@pytest.mark.parametrize("family", WITHOUT)
def test_layers_without_a_plain_ffn_say_why(family: str, tmp_path: Path) -> None:
    anatomy = find_anatomy(_load(toys.pico(family, tmp_path / family)))
    plain, reason = WITHOUT[family]
    assert [layer.ffn is not None for layer in anatomy.layers] == plain
    assert all((reason in layer.note) != has for layer, has in zip(anatomy.layers, plain, strict=True))
    if not any(plain):
        assert anatomy.ffn_size == 0
        with pytest.raises(CheckpointError, match=reason):
            require_ffn(anatomy, family)


@pytest.mark.parametrize("family", MIXTURES)
def test_the_parts_of_a_mixture_are_told_apart(family: str, tmp_path: Path) -> None:
    changes, router, shared, count, increments = MIXTURES[family]
    folder = toys.pico(family, tmp_path / family, **changes)
    model = _load(folder)
    outline, found = survey(folder).anatomy.layers, find_anatomy(model).layers
    mixtures = [layer for layer in found if layer.moe is not None]
    assert mixtures and [layer.moe is None for layer in outline] == [layer.moe is None for layer in found]
    for layer, module in zip(found, layer_modules(model, find_anatomy(model)), strict=True):
        if layer.moe is None:
            assert layer.ffn is not None
            continue
        assert (layer.moe.router, layer.moe.shared) == (router, shared)
        assert (layer.moe.count, layer.moe.per_token, layer.moe.increments) == (count, 2, increments)
        parts = {layer.component(name) for name, _ in [*module.named_parameters(), *module.named_buffers()]}
        assert parts == {"mixer", "experts", "router", *(["shared"] if shared else [])}
        assert {layer.component(name) for name, _ in module.named_parameters() if "norm" in name} == {"mixer"}


def test_the_documentation_lists_these_families() -> None:
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert listed == {*EXPECTED, *WITHOUT}


def test_an_ffn_that_does_more_than_its_matrices_is_rejected(tmp_path: Path) -> None:
    model = _load(toys.pico_llama(tmp_path / "llama"))
    mlp = submodule(layer_modules(model, find_anatomy(model))[2], "mlp")
    handle = mlp.register_forward_hook(lambda *given: given[2] * 1.01)
    layers = find_anatomy(model).layers
    handle.remove()
    assert [layer.ffn is None for layer in layers] == [False, False, True, False]
    assert "no plain FFN" in layers[2].note and "0.0099" in layers[2].note


def test_finding_the_anatomy_leaves_the_model_unchanged(tmp_path: Path) -> None:
    model = _load(toys.pico_gemma4(tmp_path / "gemma"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_anatomy(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("family", "offset"), [("gemma4_text", 0.0), ("qwen3_5_text", 1.0), ("gemma3_text", 1.0), ("llama", 0.0)]
)
def test_gain_is_the_familys_formula(family: str, offset: float, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        model = _load(toys.pico(family, tmp_path / family, dtype=dtype))
        anatomy = find_anatomy(model)
        norm: Any = submodule(layer_modules(model, anatomy)[1], anatomy.layers[1].pre_norm or "")
        calls: list[int] = []
        handle = norm.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gain, residual = effective_gain(norm, toys.HIDDEN)
        handle.remove()
        torch.testing.assert_close(gain, offset + norm.weight.float(), atol=2e-6, rtol=2e-6)
        assert residual < 1e-5
        assert not calls
        assert gain.std() > 0.05  # the toy's gains are rough, so the comparison says something


def test_a_layernorm_leaves_a_large_residual(tmp_path: Path) -> None:
    model = _load(toys.pico("gpt2", tmp_path / "gpt2"))
    norm = submodule(layer_modules(model, find_anatomy(model))[0], "ln_2")
    assert effective_gain(norm, toys.HIDDEN)[1] > 0.3
