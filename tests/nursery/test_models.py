"""The bundled parents: small enough, loadable by plain transformers, and what their recipes say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from darwin_mri.nursery import MODELS, list_nursery

NAMES = ("gemma4-base", "gemma4-korean", "gemma4-reasoning", "qwen35-mother")


def test_all_four_models_are_listed_and_small() -> None:
    rows = list_nursery()
    assert tuple(row["name"] for row in rows) == NAMES
    assert all(len(row["sha256"]) == 64 and row["role"] for row in rows)
    size = sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file())
    assert size < 45_000_000


@pytest.mark.parametrize("name", NAMES)
def test_plain_transformers_loads_it_and_it_writes_text(name: str) -> None:
    loaded: Any = AutoModelForCausalLM.from_pretrained(MODELS / name, output_loading_info=True)
    model, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"] and model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    ids = tokenizer("오늘은 날씨가", return_tensors="pt")
    out = model.generate(**{k: ids[k] for k in ("input_ids", "attention_mask")}, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_says_which_recipe_made_it(name: str) -> None:
    from dataclasses import asdict

    from darwin_mri.nursery.recipe import RECIPES
    from darwin_mri.nursery.shapes import CONTEXT

    note = json.loads((MODELS / name / "nursery.json").read_text(encoding="utf-8"))
    config = json.loads((MODELS / name / "config.json").read_text(encoding="utf-8"))
    assert config["max_position_embeddings"] == CONTEXT
    assert {key: note[key] for key in asdict(RECIPES[name])} == asdict(RECIPES[name])


def test_mother_and_father_differ_in_what_makes_a_cross() -> None:
    father, mother = (json.loads((MODELS / n / "config.json").read_text()) for n in ("gemma4-korean", "qwen35-mother"))
    for key in ("vocab_size", "num_hidden_layers", "intermediate_size", "model_type"):
        assert father[key] != mother[key]
    assert father["hidden_size"] == mother["hidden_size"]
    assert father["hidden_activation"] != mother["hidden_act"]
