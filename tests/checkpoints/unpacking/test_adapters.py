"""A model with adapters, against peft's own ``merge_and_unload``; and what is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.checkpoints.find import split_adapters
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError
from tests.toys import pico

peft = pytest.importorskip("peft")
TOLERANCE = 1e-6
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]


def peft_model(base: Path, seed: int, **settings: Any) -> Any:
    """A model with an adapter whose every learned tensor is random."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_model(find_model(str(base)), device="cpu", dtype="float32")
        model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(folder)
    return folder


def merged(model: Any) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: value.float() for name, value in model.merge_and_unload().state_dict().items()}


def ours(*parts: Path) -> dict[str, torch.Tensor]:
    return load_model(find_model("+".join(map(str, parts))), device="cpu", dtype="float32").state_dict()


def assert_alike(own: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name, value in theirs.items():
        assert (own[name] - value).abs().max() <= TOLERANCE * value.abs().max().clamp_min(1), name


SETTINGS: dict[str, dict[str, Any]] = {
    "lora": {"r": 4, "lora_alpha": 9, "target_modules": LINEAR},
    "rslora": {"r": 4, "lora_alpha": 9, "target_modules": ATTENTION, "use_rslora": True},
    "dora": {"r": 3, "lora_alpha": 5, "target_modules": LINEAR, "use_dora": True},
    "patterns": {
        "r": 4,
        "target_modules": LINEAR,
        "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6},
        "alpha_pattern": {"k_proj": 20, ".*3.self_attn.v_proj": 1},
        "use_rslora": True,
    },
    "some layers": {"r": 2, "target_modules": ["up_proj"], "layers_to_transform": [1]},
    "modules_to_save": {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head", "norm"]},
    "embeddings": {"r": 3, "target_modules": ["embed_tokens", "lm_head", "v_proj"]},
    "embeddings dora": {"r": 3, "target_modules": ["embed_tokens", "v_proj"], "use_dora": True},
    "tokens": {"r": 2, "target_modules": ["q_proj"], "trainable_token_indices": [3, 250, 7]},
    "tokens by name": {"r": 2, "target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 6]}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_equals_what_peft_merges(tmp_path: Path, name: str) -> None:
    base = pico("llama", tmp_path / "base", tie_word_embeddings=False)
    model = peft_model(base, 1, **SETTINGS[name])
    adapter = save(model, tmp_path / "adapter")
    assert_alike(ours(base, adapter), merged(model))


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_are_learned(tmp_path: Path, bias: str) -> None:
    base = pico("qwen2", tmp_path / "base", tie_word_embeddings=False)
    model = peft_model(base, 1, r=2, target_modules=["q_proj", "down_proj"], bias=bias)
    adapter = save(model, tmp_path / "adapter")
    assert_alike(ours(base, adapter), merged(model))
    model = peft_model(base, 2, r=2, target_modules=["q_proj", "k_proj"], lora_bias=True)
    adapter = save(model, tmp_path / "another")
    assert_alike(ours(base, adapter), merged(model))


def test_weights_that_are_stored_transposed(tmp_path: Path) -> None:
    base = pico("gpt2", tmp_path / "base")
    for at, settings in enumerate(({}, {"use_dora": True})):
        model = peft_model(base, 1, r=2, target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True, **settings)
        adapter = save(model, tmp_path / f"adapter{at}")
        assert_alike(ours(base, adapter), merged(model))


@pytest.mark.parametrize("targets", [["lm_head", "q_proj"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_tied_parameters_part_as_they_were_trained(tmp_path: Path, targets: list[str]) -> None:
    """peft merges into the one tensor both share; the model that was trained has it changed in one place."""
    base = pico("gemma3_text", tmp_path / "base", tie_word_embeddings=True)
    model = peft_model(base, 1, r=2, target_modules=targets)
    adapter = save(model, tmp_path / "adapter")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        own = load_model(find_model(f"{base}+{adapter}"), device="cpu", dtype="float32")(ids).logits
        assert (own - model(ids).logits).abs().max() < 1e-4
        assert (own - load_model(find_model(str(base)), device="cpu", dtype="float32")(ids).logits).abs().max() > 0.01


def test_a_saved_tied_head_gets_its_own_tensor(tmp_path: Path) -> None:
    base = pico("gemma3_text", tmp_path / "base", tie_word_embeddings=True)
    model = peft_model(base, 1, r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
    adapter = save(model, tmp_path / "adapter")
    assert_alike(ours(base, adapter), merged(model))


def test_several_adapters_in_turn(tmp_path: Path) -> None:
    base = pico("llama", tmp_path / "base", tie_word_embeddings=False)
    first = peft_model(base, 1, r=2, target_modules=ATTENTION)
    one = save(first, tmp_path / "one")
    middle = tmp_path / "middle"
    first.merge_and_unload().save_pretrained(middle)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (middle / name).write_bytes((base / name).read_bytes())
    second = peft_model(middle, 2, r=3, target_modules=LINEAR, use_dora=True)
    two = save(second, tmp_path / "two")
    assert_alike(ours(base, one, two), merged(second))
    assert find_model(f"{base}+{one}+{two}").ref == "base+one+two"


def test_untouched_tensors_keep_their_bytes_and_touched_ones_are_exact(tmp_path: Path) -> None:
    base = pico("llama", tmp_path / "base", dtype="bfloat16")
    model = peft_model(base, 1, r=2, target_modules=["q_proj"])
    source = find_model(f"{base}+{save(model, tmp_path / 'adapter')}")
    before, after = survey(base).tensors, survey(source.folder).tensors
    assert {name for name in after if after[name].dtype != before[name].dtype} == {n for n in after if "q_proj" in n}
    note = json.loads((source.folder / "darwin_parent.json").read_text())
    assert note["child_dtype"] == "BF16" and note["child_dtypes"] == {} and str(tmp_path) not in json.dumps(note)
    assert_alike(load_file(source.folder / "model.safetensors"), merged(model))  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", ["zero", "rank 0"])
def test_an_adapter_that_adds_nothing_is_the_base(tmp_path: Path, scale: str) -> None:
    base = pico("llama", tmp_path / "base", dtype="bfloat16")
    adapter = save(peft_model(base, 1, r=2, lora_alpha=0, target_modules=["q_proj"]), tmp_path / "adapter")
    if scale == "rank 0":
        tensors = load_file(adapter / "adapter_model.safetensors")
        empty = {k: v[:0] if "lora_A" in k else v[:, :0].contiguous() for k, v in tensors.items()}
        save_file(empty, adapter / "adapter_model.safetensors")
        edit(adapter, r=0, lora_alpha=8)
    folder = find_model(f"{base}+{adapter}").folder
    assert load_file(folder / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()
    for name, value in load_file(base / "model.safetensors").items():
        assert torch.equal(load_file(folder / "model.safetensors")[name], value)
        assert value.dtype == torch.bfloat16


def test_it_is_unpacked_once_and_again_when_the_adapter_changes(tmp_path: Path) -> None:
    base = pico("llama", tmp_path / "base")
    adapter = save(peft_model(base, 1, r=2, target_modules=["q_proj"]), tmp_path / "adapter")
    first = find_model(f"{base}+{adapter}").folder
    state = (first / "model.safetensors").stat().st_mtime_ns
    assert find_model(f"{base}+{adapter}").folder == first
    assert (first / "model.safetensors").stat().st_mtime_ns == state
    edit(adapter, lora_alpha=99)
    assert find_model(f"{base}+{adapter}").folder != first


def edit(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **fields}))


def no_weights(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut(folder: Path) -> None:
    content = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(content[:-7])


def one_half(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({k: v for k, v in tensors.items() if "lora_A" not in k}, folder / "adapter_model.safetensors")


def tokens_by_word(folder: Path) -> None:
    rows = {"base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": torch.zeros(1, 32)}
    save_file(rows, folder / "adapter_model.safetensors")
    edit(folder, trainable_token_indices=["x"])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_weights, "has no adapter_model.safetensors: fetch"),
        (pickled, "pickled weights are not read"),
        (cut, "bytes where its header promises"),
        (one_half, "has only up"),
        (lambda folder: edit(folder, peft_type="IA3"), "peft_type 'IA3' is not implemented"),
        (lambda folder: edit(folder, peft_type="VERA"), "peft_type 'VERA' is not implemented"),
        (lambda folder: edit(folder, layer_replication=[[0, 1]]), "layer_replication in adapter_config.json changes"),
        (lambda folder: edit(folder, init_lora_weights="pissa"), "init_lora_weights 'pissa' changes the base"),
        (lambda folder: edit(folder, some_new_thing=3), "some_new_thing in adapter_config.json changes"),
        (lambda folder: edit(folder, r=5), "gives .* rank 5, its matrices have rank 2"),
        (lambda folder: edit(folder, rank_pattern=["q"]), "rank_pattern in .* gives no patterns"),
        (lambda folder: edit(folder, alpha_pattern={"(": 4}), "alpha_pattern in .* gives no patterns"),
        (tokens_by_word, "trainable_token_indices of .* is no list of numbers"),
        (lambda folder: save_file({}, folder / "adapter_model.safetensors"), "holds no tensors"),
        (lambda folder: edit(folder, use_dora=True), "use_dora and the magnitudes of .* contradict"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "is no adapter: it has no adapter_config.json"),
    ],
)
def test_a_bad_adapter_is_refused_in_one_line(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    base = pico("llama", tmp_path / "base")
    adapter = save(peft_model(base, 1, r=2, target_modules=["q_proj"]), tmp_path / "adapter")
    spoil(adapter)
    with pytest.raises(CheckpointError, match=said) as caught:
        find_model(f"{base}+{adapter}")
    assert "\n" not in str(caught.value)


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    base, wide = pico("llama", tmp_path / "base"), pico("llama", tmp_path / "wide", hidden_size=64)
    adapter = save(peft_model(wide, 1, r=2, target_modules=["q_proj"]), tmp_path / "adapter")
    with pytest.raises(
        CheckpointError, match=r"adapter: .*q_proj is \(64, 64\) where base has \(32, 32\): the adapter"
    ):
        find_model(f"{base}+{adapter}")
    other = pico("gpt2", tmp_path / "other")
    with pytest.raises(CheckpointError, match="adapter is not for other, where .* does not exist"):
        find_model(f"{other}+{adapter}")


def test_what_is_said_of_a_reference_that_cannot_be_meant(tmp_path: Path) -> None:
    base = pico("llama", tmp_path / "base")
    adapter = save(peft_model(base, 1, r=2, target_modules=["q_proj"]), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"adapter is an adapter: give the model .* as MODEL\+ADAPTER"):
        find_model(str(adapter))
    with pytest.raises(CheckpointError, match="base is no adapter"):
        find_model(f"{base}+{base}")
    with pytest.raises(CheckpointError, match="without an adapter behind it"):
        find_model(f"{base}+")


def test_paths_keep_their_plus_signs(tmp_path: Path) -> None:
    odd = tmp_path / "a+b" / "c+d"
    odd.mkdir(parents=True)
    assert split_adapters(f"{odd}+{odd}+x/y") == [str(odd), str(odd), "x/y"]
    assert split_adapters("nursery:gemma4-base+a+b") == ["nursery:gemma4-base", "a", "b"]
