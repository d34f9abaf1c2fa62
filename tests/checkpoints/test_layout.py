"""The layout says what transformers' loader does: names, ties, copies, leftovers, and what would be random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.checkpoints.layout import Layout
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError
from tests import toys

Tensors = dict[str, torch.Tensor]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def rewrite(folder: Path, change: Callable[[Tensors], Tensors | None]) -> Layout:
    """Change the stored tensors of a folder in one file; the layout afterwards."""
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors) or tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return survey(folder).layout


def edit_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    kept = {name: value for name, value in {**config, **fields}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept))


# tests/merging/test_every_family.py asks the same of all, through a merge.
FAMILIES = ("gemma4_text", "qwen3_5_text", "qwen3_moe", "mixtral", "granitemoehybrid", "gpt_neox", "gpt2", "falcon_h1")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_in_memory_is_read_from_where_the_layout_says(family: str, tmp_path: Path) -> None:
    folder = toys.pico(family, tmp_path / family, max_shard_size="60KB")
    layout, stored = survey(folder).layout, {}
    for shard in survey(folder).shards:
        stored |= load_file(folder / shard)
    state = load_model(find_model(str(folder)), device="cpu").state_dict()
    built: Tensors = {}
    for assembly in layout.assemblies:
        built |= assembly.build([stored[part] for part in assembly.parts])
    for name, tensor in state.items():
        read = built[name] if name in built else stored[layout.on_disk(name)]
        assert torch.equal(read, tensor), name
    assert set(layout.text_tensors.values()) == set(stored) and not layout.others


@pytest.mark.parametrize("pico", [toys.pico_gemma4, toys.pico_qwen35])
def test_a_wrapper_has_the_text_model_of_its_sibling_and_towers_beside_it(pico, tmp_path: Path) -> None:
    alone, wrapped = (survey(pico(tmp_path / str(inside), wrapped=inside)).layout for inside in (False, True))
    assert set(alone.text_tensors) == set(wrapped.text_tensors) and alone.text_ties == wrapped.text_ties
    assert not alone.others and all("vis" in name for name in wrapped.others) and wrapped.others
    assert not wrapped.unexpected


def test_the_only_stored_copy_of_a_tied_tensor_may_have_either_name(tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "tied", tie_word_embeddings=True)
    assert survey(folder).layout.tied == {HEAD: EMBEDDING}
    layout = rewrite(folder, lambda tensors: tensors.update({HEAD: tensors.pop(EMBEDDING)}))
    assert layout.tied == {EMBEDDING: HEAD} and layout.on_disk(EMBEDDING) == HEAD


def test_a_tied_tensor_that_is_stored_twice_is_tied_where_both_are_the_same(tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "tied", tie_word_embeddings=True)
    layout = rewrite(folder, lambda tensors: tensors.update({HEAD: tensors[EMBEDDING].clone()}))
    assert layout.tied == {HEAD: EMBEDDING} and layout.copies == {HEAD: EMBEDDING}
    layout = rewrite(folder, lambda tensors: tensors.update({HEAD: tensors[EMBEDDING] + 1}))
    assert not layout.tied and not layout.copies, "transformers does not tie what differs"
    model = load_model(find_model(str(folder)), device="cpu")
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_a_family_ties_where_its_configuration_says_nothing(tmp_path: Path) -> None:
    folder = toys.pico("gemma2", tmp_path / "gemma")
    edit_config(folder, tie_word_embeddings=None)
    assert survey(folder).layout.tied == {HEAD: EMBEDDING}


def test_what_the_loader_drops_in_silence_has_no_part_and_what_it_warns_of_is_named(tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "old")
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "model.layers.0.mlp.extra": torch.ones(3)}
    layout = rewrite(folder, lambda tensors: tensors.update(old))
    assert not set(old) & {*layout.text_tensors.values(), *layout.others}
    assert layout.unexpected == ("model.layers.0.mlp.extra",)


def test_two_tensors_for_one_parameter_are_refused(tmp_path: Path) -> None:
    """Which of them a loader takes is an accident of order."""
    folder = toys.pico_llama(tmp_path / "double")
    with pytest.raises(CheckpointError, match=r"double holds model.norm.weight as model.norm.weight and as norm"):
        rewrite(folder, lambda tensors: tensors.update({"norm.weight": tensors["model.norm.weight"] + 1}))


def test_an_old_name_is_the_new_one(tmp_path: Path) -> None:
    folder = toys.pico("gpt_neox", tmp_path / "neox")
    assert survey(folder).layout.on_disk("lm_head.weight") == "embed_out.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight") * 0, "lacks 1 of the model's weights"),
        (lambda tensors: tensors.update({HEAD: tensors[HEAD][:9]}), "has shape .9, 32. where config.json asks for"),
    ],
)
def test_what_would_be_random_is_refused_by_name(change, message: str, tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "llama")
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        _ = survey(folder).layout
    with pytest.raises(CheckpointError, match=message):
        load_model(find_model(str(folder)), device="cpu")


def test_a_folder_is_read_again_when_it_changes(tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "llama")
    first = survey(folder)
    assert survey(folder) is first
    edit_config(folder, rms_norm_eps=1e-3)
    assert survey(folder).text_config.rms_norm_eps == 1e-3
