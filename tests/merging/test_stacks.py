"""Stacks of layers: what mergekit's passthrough writes, each layer as it was, or refused with the reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from darwin_mri.checkpoints import CheckpointReader, ModelSource, file_digests, verify_folder
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import InputError
from darwin_mri.merging.compatibility import sibling_fault
from darwin_mri.merging.stacks import LayerRange, Stack, build_stack, stacks_of_slices
from tests.merging.oracle import write_children
from tests.merging.vocabularies import bpe, model_with, rename_ids
from tests.toys import LAYERS, pico, pico_gemma4, pico_qwen35

PARITY = ("llama", "qwen2", "mistral")
LONGER = (("a", 0, 3), ("b", 1, 2), ("a", 2, 4), ("b", 2, 4))  # repeated layers of two models
# mergekit keeps the number of layer types that transformers derives for Qwen 2, so it cannot lengthen one.
MIXED = {"llama": LONGER, "mistral": LONGER, "qwen2": (("a", 0, 1), ("b", 1, 2), ("a", 1, 2), ("b", 3, 4))}
ZEROED = ("o_proj", "down_proj")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where parents in another form are written."""
    monkeypatch.setenv("DARWIN_MRI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source(folder: Path) -> ModelSource:
    return ModelSource(folder.name, folder, None)


def pair(root: Path, family: str, **changes: Any) -> dict[str, ModelSource]:
    return {name: source(pico(family, root / name, seed=seed, **changes)) for seed, name in enumerate("ab")}


def stack_of(models: dict[str, ModelSource], *ranges: tuple[str, int, int], scale: Any = None) -> Stack:
    return Stack(tuple(LayerRange(models[name], first, last, scale) for name, first, last in ranges))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    reader = CheckpointReader(folder)
    return {name: reader.tensor(name) for name in reader.names()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 40)[None], use_cache=False).logits


def loaded(model: ModelSource) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(model.folder)


SIMPLE = (
    "llama",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "qwen3_5_text",
    "mixtral",
    "qwen3_moe",
    "smollm3",
    "gpt_oss",
    "lfm2",
)


@pytest.mark.parametrize("family", SIMPLE)
def test_a_stack_computes_what_its_layers_do(tmp_path: Path, family: str) -> None:
    """The loaded stack's logits are those of the parents' own modules put in that order by hand."""
    models = pair(tmp_path, family)
    ranges = (("a", 0, 3), ("b", 1, 2), ("b", 2, 4))
    stack = build_stack(stack_of(models, *ranges))
    verify_folder(stack.folder)
    assert stack.ref == "a[0:3]+b[1:2]+b[2:4]"
    child = loaded(stack)
    by_hand = {name: loaded(model) for name, model in models.items()}
    decoder, last = by_hand["a"].get_decoder(), by_hand["b"]
    order = [(name, index) for name, first, end in ranges for index in range(first, end)]
    decoder.layers = nn.ModuleList([by_hand[name].get_decoder().layers[index] for name, index in order])
    norm = "embedding_norm" if family == "lfm2" else "norm"
    setattr(decoder, norm, getattr(last.get_decoder(), norm))
    if not by_hand["a"].config.tie_word_embeddings:
        by_hand["a"].lm_head = last.lm_head
    for name in ("layer_types", "no_rope_layers", "mlp_layer_types"):
        if getattr(child.config, name, None):
            own = {role: list(getattr(model.config, name)) for role, model in by_hand.items()}
            expected = [survey(models[role].folder).text_config.to_dict()[name][index] for role, index in order]
            assert getattr(child.config, name) == expected and own
            setattr(by_hand["a"].config, name, expected)
    by_hand["a"].config.num_hidden_layers = len(order)
    assert torch.allclose(logits(child), logits(by_hand["a"]), atol=1e-5)
    assert child.config.num_hidden_layers == len(child.get_decoder().layers) == len(order)
    ids = torch.arange(3, 12)[None]
    assert child.generate(ids, max_new_tokens=3, do_sample=False, eos_token_id=None).shape == (1, 12)


@pytest.mark.parametrize("make", [pico_gemma4, pico_qwen35])
def test_wrapped_models(tmp_path: Path, make: Any) -> None:
    """The text part of a wrapper is stacked; its tower stays the first model's, text-only layers fit in."""
    options = {"num_kv_shared_layers": 0} if make is pico_gemma4 else {}
    wrapped = source(make(tmp_path / "wrapped", wrapped=True, **options))
    text = source(make(tmp_path / "text", seed=1, **options))
    stack = build_stack(Stack((LayerRange(wrapped, 0, 2), LayerRange(text, 2, 4), LayerRange(wrapped, 3, 4))))
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(stack.folder)
    config = json.loads((stack.folder / "config.json").read_text(encoding="utf-8"))
    assert config["text_config"]["num_hidden_layers"] == 5
    assert len(model.get_decoder().layers) == 5
    assert config["vision_config"] == json.loads((wrapped.folder / "config.json").read_text())["vision_config"]
    made, first, other = tensors(stack.folder), tensors(wrapped.folder), tensors(text.folder)
    towers = [name for name in first if ".layers." not in name or "vision" in name or "visual" in name]
    assert sum("vi" in name for name in towers) > 5
    assert all(torch.equal(made[name], first[name]) for name in towers if "vi" in name)
    down = "language_model.layers.{}.mlp.down_proj.weight"
    mine = {name.rpartition("language_model")[1] + name.rpartition("language_model")[2]: v for name, v in made.items()}
    assert torch.equal(mine[down.format(2)], other["model.layers.2.mlp.down_proj.weight"])


def test_shared_keys_and_tables_of_layers(tmp_path: Path) -> None:
    """Gemma 4: layers 2 and 3 share keys and values with 0 and 1; each layer keeps its part of the per-layer tables."""
    models = pair(tmp_path, "gemma4_text")
    stack = build_stack(stack_of(models, ("a", 0, 2), ("a", 0, 4), ("a", 3, 4)))
    config = survey(stack.folder).text_config
    order = [0, 1, 0, 1, 2, 3, 3]
    assert (config.num_hidden_layers, config.num_kv_shared_layers) == (7, 3)
    made, own = tensors(stack.folder), tensors(models["a"].folder)
    table, projection = "model.embed_tokens_per_layer.weight", "model.per_layer_model_projection.weight"
    for at, index in enumerate(order):
        assert torch.equal(made[table].unflatten(1, (7, 8))[:, at], own[table].unflatten(1, (4, 8))[:, index])
        assert torch.equal(made[projection].unflatten(0, (7, 8))[at], own[projection].unflatten(0, (4, 8))[index])
    assert loaded(stack).generate(torch.arange(3, 9)[None], max_new_tokens=2, eos_token_id=None).shape == (1, 8)
    refused = {
        (("a", 0, 4), ("a", 0, 4)): "layer 2 shares keys and values, so layer 4 after it must too",
        (("a", 0, 2), ("b", 2, 4)): "layer 2 shares keys and values with layer 0 of b, but would get those of layer 0",
        (("a", 1, 4),): "transformers refuses its configuration: ValueError: The set of layer types",
        (("a", 0, 2), ("a", 2, 3)): "layer 2, which is layer 2 of a, is sliding_attention, but would be full_attention",
    }
    before = sorted((tmp_path / "cache").glob("[!.]*"))
    for ranges, reason in refused.items():
        with pytest.raises(InputError, match=reason) as caught:
            build_stack(stack_of(models, *ranges))
        assert "\n" not in str(caught.value)
    assert sorted((tmp_path / "cache").glob("[!.]*")) == before


def test_a_hybrid_that_its_configuration_cannot_express(tmp_path: Path) -> None:
    """Bamba says which layers attend, so any order can be; a period that transformers derives cannot be moved."""
    bamba = source(pico("bamba", tmp_path / "bamba"))
    stack = build_stack(Stack((LayerRange(bamba, 1, 2), LayerRange(bamba, 0, 3))))
    assert survey(stack.folder).text_config.attn_layer_indices == [0, 2]
    jamba = source(jamba_at(tmp_path / "jamba"))
    with pytest.raises(InputError, match="layer 1, which is layer 2 of jamba, is linear_attention, but would be full"):
        build_stack(Stack((LayerRange(jamba, 0, 1), LayerRange(jamba, 2, 4))))
    whole = Stack((LayerRange(jamba, 0, 4), LayerRange(jamba, 0, 4)))  # two periods
    assert survey(build_stack(whole).folder).text_config.num_hidden_layers == 8


def jamba_at(path: Path) -> Path:
    fields: dict[str, Any] = {
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "attn_layer_period": 2,
        "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1, "num_experts": 2,
        "num_experts_per_tok": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
    }  # fmt: skip
    return save(transformers.JambaConfig(vocab_size=300, hidden_size=32, intermediate_size=48, **fields), path)


def save(config: Any, path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(path)
    bpe().save_pretrained(path)
    return path


def test_a_constant_that_depends_on_a_layers_number(tmp_path: Path) -> None:
    """In Differential Transformer the lambda of each attention is computed from its layer's number."""
    config = transformers.DiffLlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8,
    )  # fmt: skip
    model = source(save(config, tmp_path / "diff"))
    reason = r"layer 1, which is layer 2 of diff, would have self_attn\.lambda_init .*: config.json cannot say so"
    with pytest.raises(InputError, match=reason):
        build_stack(Stack((LayerRange(model, 0, 1), LayerRange(model, 2, 4))))
    head = Stack((LayerRange(model, 0, 3),))  # the first layers stay in their places
    assert survey(build_stack(head).folder).text_config.num_hidden_layers == 3


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, LAYERS - 1), unique=True), factor=st.sampled_from([None, 1.0]))
def test_the_identity_is_the_model_itself(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], factor: Any
) -> None:
    root = tmp_path_factory.mktemp("identity")
    models = {"a": source(pico("llama", root / "a"))}
    before = file_digests(models["a"].folder)
    bounds = [0, *sorted(cuts), LAYERS]
    ranges = [("a", first, last) for first, last in zip(bounds[:-1], bounds[1:], strict=True)]
    scale = None if factor is None else (lambda name, place: factor)
    assert build_stack(stack_of(models, *ranges, scale=scale)) == models["a"]
    assert file_digests(models["a"].folder) == before and not Path(os.environ["DARWIN_MRI_CACHE"]).exists()


def test_stacks_of_slices_are_siblings(tmp_path: Path) -> None:
    models = pair(tmp_path, "llama")
    a, b = models.values()
    slices = [[LayerRange(a, 0, 2), LayerRange(b, 1, 3)], [LayerRange(b, 2, 4), LayerRange(a, 1, 3)]]
    first, second = stacks_of_slices(slices)
    assert [str(first), str(second)] == ["a[0:2]+a[1:3]", "b[1:3]+b[2:4]"]
    built = [build_stack(stack) for stack in (first, second)]
    assert sibling_fault(survey(built[0].folder), survey(built[1].folder), "second") is None
    crossed = stacks_of_slices([[LayerRange(a, 0, 2)], [LayerRange(b, 2, 4)]])
    assert [str(stack) for stack in crossed] == ["a[0:2]+b[2:4]"]
    with pytest.raises(InputError, match=r"sources of slice 1 have \[2, 1\] layers"):
        stacks_of_slices([slices[0], [LayerRange(a, 0, 2), LayerRange(b, 0, 1)]])
    with pytest.raises(InputError, match="slice 1 merges 1 models, slice 0 2"):
        stacks_of_slices([slices[0], [LayerRange(a, 2, 4)]])


def test_bad_stacks_leave_nothing(tmp_path: Path) -> None:
    a = source(pico("llama", tmp_path / "a"))
    narrow = source(pico("llama", tmp_path / "narrow", hidden_size=16))
    qwen = source(pico("qwen2", tmp_path / "qwen"))
    inverse = source(pico("gpt2", tmp_path / "inverse", scale_attn_by_inverse_layer_idx=True))
    moved = model_with(bpe(added=["<x>", "<y>"]), tmp_path / "moved")
    other = model_with(bpe(added=["<x>", "<y>"]), tmp_path / "other")
    rename_ids(other.folder, ["<y>", "<x>"])
    cases = {
        Stack(()): "a stack has no layers",
        Stack((LayerRange(a, 2, 5),)): r"a\[2:5\]: a has layers 0 to 3",
        Stack((LayerRange(a, 2, 2),)): r"a\[2:2\]: a has layers 0 to 3",
        Stack((LayerRange(a, 0, 2), LayerRange(narrow, 2, 4))): "narrow has hidden_size 16, a 32",
        Stack((LayerRange(a, 0, 2), LayerRange(qwen, 2, 4))): "qwen has model_type qwen2, a llama",
        Stack((LayerRange(inverse, 1, 4),)): "config.json has scale_attn_by_inverse_layer_idx",
        Stack((LayerRange(moved, 0, 2), LayerRange(other, 2, 4))): "other's tokenizer gives 2 tokens other ids",
    }
    for stack, reason in cases.items():
        with pytest.raises(InputError, match=reason) as caught:
            build_stack(stack)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def recipe(at: dict[str, ModelSource], family: str, scaled: bool) -> dict[str, Any]:
    slices = []
    for number, (name, first, last) in enumerate(MIXED[family]):
        part: dict[str, Any] = {"model": str(at[name].folder), "layer_range": [first, last]}
        if scaled and number % 2:
            zeros = [{"filter": word, "value": 0.0} for word in ZEROED]
            part["parameters"] = {"scale": [*zeros, {"filter": "mlp", "value": [0.5, 2.0]}, {"value": 1.0}]}
        slices.append({"sources": [part]})
    return {"merge_method": "passthrough", "dtype": "float32", "slices": slices}


def factor(name: str, place: float) -> float:
    """What the recipe's filters and gradient say."""
    if any(word in name for word in ZEROED):
        return 0.0
    return 0.5 + 1.5 * place if "mlp" in name else 1.0


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """mergekit's stacks; family -> the folder of its parents, ``NAME-plain`` and ``NAME-scaled`` -> the child."""
    root = tmp_path_factory.mktemp("oracle")
    jobs, folders = [], {}
    for family in (*PARITY, "qwen2-tied"):
        changes = {"tie_word_embeddings": True} if family == "qwen2-tied" else {}
        models = pair(root / family, family.partition("-")[0], **changes)
        folders[family] = root / family
        for scaled, name in ((False, f"{family}-plain"), (True, f"{family}-scaled")):
            folders[name] = root / name
            jobs.append((recipe(models, family.partition("-")[0], scaled), root / name))
    write_children(jobs, root)
    return folders


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("family", [*PARITY, "qwen2-tied"])
def test_equal_to_mergekits_passthrough(oracle: dict[str, Path], tmp_path: Path, family: str, scaled: bool) -> None:
    """Byte for byte in fp32."""
    models = {name: source(oracle[family] / name) for name in "ab"}
    ranges = tuple(
        LayerRange(models[name], first, last, factor if scaled and number % 2 else None)
        for number, (name, first, last) in enumerate(MIXED[family.partition("-")[0]])
    )
    made = tensors(build_stack(Stack(ranges)).folder)
    theirs = tensors(oracle[f"{family}-{'scaled' if scaled else 'plain'}"])
    assert made.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(made[name].view(torch.int32), value.view(torch.int32)) or torch.equal(made[name], value)
