"""A model loads whole or not at all."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model, load_model, load_tokenizer, resolve_device
from darwin_mri.checkpoints.libraries import CUDA_ONLY, hide_cuda_kernels
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError, InputError
from tests import toys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.pico_gemma4(tmp_path_factory.mktemp("loading") / "pico", dtype="bfloat16")


def test_loaded_weights_are_the_files(folder: Path) -> None:
    model = load_model(find_model(str(folder)), device="cpu")
    stored = load_file(folder / "model.safetensors")
    state = model.state_dict()
    assert set(state) - set(stored) == {"lm_head.weight"}
    assert all(torch.equal(state[name], tensor) for name, tensor in stored.items())
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert load_model(find_model(str(folder)), device="cpu", dtype="float32").dtype == torch.float32


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_model(find_model(str(folder)), device="cpu")
    load_tokenizer(find_model(str(folder)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "model.layers.0.layer_scalar"]
)
def test_missing_weight_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "holed"))
    tensors = load_file(copy / "model.safetensors")
    del tensors[name]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"holed lacks .* refused") as caught:
        load_model(find_model(str(copy)), device="cpu")
    assert name in str(caught.value)


def test_configuration_of_another_width_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "wide"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(CheckpointError, match=r"wide: model.layers.0.mlp.\w+.weight has shape .* asks for") as caught:
        load_model(find_model(str(copy)), device="cpu")
    assert "\n" not in str(caught.value)


def test_a_model_that_writes_no_text_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "tower"))
    (copy / "config.json").write_text(json.dumps({"model_type": "siglip_vision_model"}))
    with pytest.raises(CheckpointError, match="not a language model"):
        load_model(find_model(str(copy)), device="cpu")


def test_missing_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer*", "special*")))
    with pytest.raises(CheckpointError, match="mute has no tokenizer that loads") as caught:
        load_tokenizer(find_model(str(copy)))
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_tokenizer_and_wrappers_load(wrapped: bool, tmp_path: Path) -> None:
    for pico in (toys.pico_gemma4, toys.pico_qwen35):
        source = find_model(str(pico(tmp_path / pico.__name__, wrapped=wrapped)))
        text = "안녕 hello"
        ids = load_tokenizer(source)(text, return_tensors="pt")["input_ids"]
        logits = load_model(source, device="cpu")(input_ids=ids).logits
        assert logits.shape == (1, len(text.encode()), toys.VOCABULARY)
        assert torch.isfinite(logits).all()


def test_devices_and_dtypes() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="unknown device"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA"):
            resolve_device("cuda")


def test_unknown_dtype_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="unknown dtype"):
        load_model(find_model(str(folder)), device="cpu", dtype="float13")


def test_a_folder_name_that_is_not_utf8_is_refused(folder: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/m\xff")
    try:
        shutil.copytree(folder, odd)
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(CheckpointError, match=r"m\\udcff: the folder's name is not UTF-8: rename it"):
        find_model(odd)


def test_cuda_kernels_are_hidden_while_loading_on_a_cpu(folder: Path) -> None:
    before = {name: sys.modules.get(name) for name in CUDA_ONLY}
    with hide_cuda_kernels("cpu"), pytest.raises(ImportError):
        importlib.import_module(CUDA_ONLY[0])
    load_model(find_model(str(folder)), device="cpu")
    assert {name: sys.modules.get(name) for name in CUDA_ONLY} == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"initializer_range": "0.02"}, "'initializer_range'"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types"),
        ({"hidden_activation": "no such"}, "no such"),
        ({"num_attention_heads": 3.5}, "'num_attention_heads'"),
    ],
)
def test_whatever_a_configuration_raises_is_one_line(
    folder: Path, tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "odd"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **fields}))
    for read in (lambda: load_model(find_model(str(copy)), device="cpu"), lambda: survey(copy).layout):
        with pytest.raises(CheckpointError, match="^odd") as caught:
            read()
        assert words in str(caught.value) and "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
