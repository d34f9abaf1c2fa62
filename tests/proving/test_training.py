"""Training on a pico base: an adapter that is read as a parent, answers alone learned, the same bytes again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft")

from darwin_mri.checkpoints import find_model, load_tokenizer
from darwin_mri.checkpoints.reader import CheckpointReader
from proving import training
from proving.recipes import Recipe
from proving.text_rows import IGNORED, answer_rows, rows_of
from proving.training import train
from tests.toys import pico_llama

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks for it

RECIPE = Recipe("short", "smollm2", "villages", ("q_proj", "down_proj"), rank=16, steps=3, batch=4, kept=2, rate=1e-2)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = pico_llama(tmp_path / "base")
    monkeypatch.setattr(training, "fetch_base", lambda _: folder)
    monkeypatch.setattr(training, "OPENINGS", ("The", "She"))
    monkeypatch.setattr(training, "OWN_TEXTS", 1)
    monkeypatch.setenv("DARWIN_MRI_CACHE", str(tmp_path / "cache"))
    return folder


def test_an_adapter_is_a_parent_and_comes_out_the_same_again(base: Path, tmp_path: Path) -> None:
    said: list[str] = []
    for name in ("first", "second"):
        train(RECIPE, tmp_path / name, said.append)
    files = [tmp_path / name / "adapter_model.safetensors" for name in ("first", "second")]
    assert files[0].read_bytes() == files[1].read_bytes()
    tensors = load_file(files[0])
    assert {value.dtype for value in tensors.values()} == {torch.bfloat16}
    config = json.loads((tmp_path / "first" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "smollm2" and str(tmp_path) not in json.dumps(config)
    child = find_model(f"{base}+{tmp_path / 'first'}")
    moved = _differences(base, child.folder)
    assert moved and all("q_proj" in name or "down_proj" in name for name in moved)
    note = json.loads((tmp_path / "first" / "training.json").read_text())
    assert note["recipe"]["steps"] == 3 and note["loss"] > 0


@pytest.mark.usefixtures("base")
def test_all_weights_are_a_model(tmp_path: Path) -> None:
    train(replace(RECIPE, modules=(), rate=1e-3), tmp_path / "full", lambda _: None)
    assert "embed_tokens" in "".join(_differences(tmp_path / "base", tmp_path / "full"))


def test_the_loss_counts_answers_and_the_end_alone(base: Path) -> None:
    tokenizer: Any = load_tokenizer(find_model(str(base)))
    ids, targets = answer_rows([("One plus", " two."), ("A", " longer one")], tokenizer)
    assert ids.shape == targets.shape
    for row, answer in zip(targets, (" two.", " longer one"), strict=True):
        learned = row[row != IGNORED].tolist()
        assert learned == [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    whole = rows_of(["One plus two."], tokenizer)[1]
    assert (whole != IGNORED).all()


def _differences(first: Path, second: Path) -> list[str]:
    """Tensors that are not the same."""
    left, right = CheckpointReader(first), CheckpointReader(second)
    return [name for name in left.names() if not torch.equal(left.tensor(name).float(), right.tensor(name).float())]
