"""GGUF files: written with the gguf package and read back, and cut short. ``test_real_gguf`` reads two real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("gguf")

from darwin_mri.checkpoints import find_model, load_model, load_tokenizer
from darwin_mri.checkpoints.unpacking.cache import cache_root
from darwin_mri.errors import CheckpointError
from tests.checkpoints.unpacking.gguf_files import ARCHITECTURES, write_gguf
from tests.toys import pico

# Blocks hold 32 values. Wider initial weights make attention so sharp that any rounding moves the top token.
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, "initializer_range": 0.06}
HALF_STEP = {"F16": 2.0**-11, "Q8_0": 0.5 / 127}  # F16: of the value; Q8_0: of the largest of a block


@pytest.fixture(scope="module", params=ARCHITECTURES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {k: v for k, v in SIZES.items() if family == "gemma3_text" or k != "head_dim"}
    tied = family != "qwen2"
    extra: dict[str, Any] = {"layer_types": None} if family == "gemma3_text" else {}
    return pico(family, tmp_path_factory.mktemp(family) / family, tie_word_embeddings=tied, **sizes, **extra)


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_values_and_predictions_come_back(model: Path, family: str, kind: str, tmp_path: Path) -> None:
    source = find_model(str(write_gguf(model, tmp_path / f"pico-{kind}.gguf", family, kind)))
    assert source.ref == f"pico-{kind}.gguf"
    before, after = load_file(model / "model.safetensors"), load_file(source.folder / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in before.items():
        error = (after[name].float() - value).abs()
        if value.dim() < 2:
            assert error.max() < 1e-6, name
        elif kind == "F16":
            assert (error <= value.abs() * HALF_STEP["F16"] + 2.0**-25).all(), name
        else:
            block = value.reshape(value.shape[0], -1, 32).abs().amax(-1).repeat_interleave(32, -1)
            # The scale is rounded to float16, and the product once more.
            assert (error <= block * (HALF_STEP["Q8_0"] + 2.0**-11 + 2.0**-10)).all(), name
    ids = torch.randint(0, 256, (8, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (load_model(s, device="cpu", dtype="float32") for s in (find_model(str(model)), source))
        same = (first(ids).logits.argmax(-1) == second(ids).logits.argmax(-1)).float().mean()
    assert same >= 0.95


def test_tokenizer_chat_template_and_note_come_from_the_file(model: Path, family: str, tmp_path: Path) -> None:
    source = find_model(str(write_gguf(model, tmp_path / "pico.gguf", family, "Q8_0")))
    tokenizer, own = load_tokenizer(source), load_tokenizer(find_model(str(model)))
    text = "Hello, 한국어 and more?"
    if family != "gemma3_text":  # whose tokens transformers takes for those of sentencepiece, whatever the file says
        assert tokenizer(text, add_special_tokens=False).input_ids == own(text).input_ids
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "x"
    config, note = (json.loads((source.folder / name).read_text()) for name in ("config.json", "darwin_parent.json"))
    assert config["dtype"] == "bfloat16" and "quantization_config" not in config
    assert note["child_dtype"] == "BF16" and note["license"] == "mit"
    assert note["sentence"] == "pico.gguf: dequantised from Q8_0"


def test_a_file_in_a_folder_is_named_with_a_colon(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    write_gguf(pico("llama", tmp_path / "pico", **SIZES), folder / "a.gguf", "llama", "F16")
    assert find_model(f"{folder}:a.gguf").ref == "models:a.gguf"
    with pytest.raises(CheckpointError, match="models has no file b.gguf"):
        find_model(f"{folder}:b.gguf")
    with pytest.raises(CheckpointError, match="models holds GGUF files: name one, as models:a.gguf"):
        find_model(str(folder))
    with pytest.raises(CheckpointError, match="c.gguf: no such file"):
        find_model(str(tmp_path / "c.gguf"))


def test_a_file_that_is_cut_short_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    whole = write_gguf(pico("llama", tmp_path / "pico", **SIZES), tmp_path / "whole.gguf", "llama", "Q8_0")
    content, before = whole.read_bytes(), sorted(cache_root().iterdir()) if cache_root().is_dir() else []
    size = len(content)
    for length in (0, 3, 4, 20, 24, 40, 300, 4000, size // 20, size // 4, size // 2, size - 4000, size - 40, size - 33):
        (tmp_path / "cut.gguf").write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"cut\.gguf is cut short or damaged.*: fetch it again") as caught:
            find_model(str(tmp_path / "cut.gguf"))
        assert "\n" not in str(caught.value)
    assert (sorted(cache_root().iterdir()) if cache_root().is_dir() else []) == before


def test_what_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    model = pico("llama", tmp_path / "pico", **SIZES)
    content = write_gguf(model, tmp_path / "a.gguf", "llama", "F16").read_bytes()
    (tmp_path / "b.gguf").write_bytes(content.replace(b"llama", b"lxama"))
    with pytest.raises(CheckpointError, match=r"b\.gguf is not read by transformers: .*lxama is not supported"):
        find_model(str(tmp_path / "b.gguf"))
    (tmp_path / "x-00001-of-00002.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x-00002-of-00002\.gguf is not there \(1 of 2 parts missing\)"):
        find_model(str(tmp_path / "x-00001-of-00002.gguf"))
    (tmp_path / "x-00002-of-00002.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x-00001-of-00002\.gguf holds tensor .* twice"):
        find_model(str(tmp_path / "x-00001-of-00002.gguf"))
    (tmp_path / "x-00000-of-00000.gguf").write_bytes(content)
    with pytest.raises(CheckpointError, match="there is no part 00000 of 00000"):
        find_model(str(tmp_path / "x-00000-of-00000.gguf"))
    wide = b"llama.feed_forward_length" + (4).to_bytes(4, "little")  # a field's name, its type, its value
    (tmp_path / "w.gguf").write_bytes(content.replace(wide + b"\x60", wide + b"\x20"))
    with pytest.raises(CheckpointError, match=r"makes \(96, 64\) where the file's configuration asks for \(32, 64\)"):
        find_model(str(tmp_path / "w.gguf"))
    (tmp_path / "c.gguf").write_bytes(content.replace(b"blk.0.attn_q.weight", b"blk.0.attn_z.weight"))
    with pytest.raises(CheckpointError, match=r"lacks 1 of the model's tensors \(first: .*\.0\.self_attn\.q"):
        find_model(str(tmp_path / "c.gguf"))
