"""Siblings whose files differ beside the weights: what changes the computation is told or refused, by name."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError
from darwin_mri.merging.compatibility import sibling_fault, sibling_notes
from tests import toys

FAMILIES = (
    "llama",
    "gemma2",
    "gemma4_text",
    "qwen2",
    "qwen3_5_text",
    "gpt_neox",
    "granite",
    "cohere2",
    "phi",
    "falcon",
)
LONG = torch.arange(40)[None] * 7 % 250  # longer than the windows of 16


@cache
def original(family: str) -> Path:
    folder = TemporaryDirectory(prefix="family-")
    _KEPT.append(folder)
    return toys.pico(family, Path(folder.name) / "father")


_KEPT: list[TemporaryDirectory[str]] = []  # removed at exit


@cache
def logits_of(family: str) -> torch.Tensor:
    return logits(original(family))


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return load_model(find_model(str(folder)), device="cpu")(input_ids=LONG).logits


def edited(folder: Path, out: Path, file: str = "config.json", **fields: Any) -> Path:
    """A copy whose JSON file has other fields."""
    shutil.copytree(folder, out, dirs_exist_ok=True)
    data = json.loads((out / file).read_text(encoding="utf-8"))
    (out / file).write_text(json.dumps({**data, **fields}), encoding="utf-8")
    return out


def other_value(value: Any, draw: st.DrawFn) -> Any:
    """A value of the same kind that is not the same."""
    match value:
        case bool():
            return not value
        case int():
            return draw(st.sampled_from([value + 1, value * 2, max(1, value // 2), 1, 4]))
        case float():
            return value * draw(st.sampled_from([0.1, 0.5, 3.0, 100.0])) + draw(st.sampled_from([0.0, 0.25]))
        case str():
            return draw(st.sampled_from(["relu", "silu", "gelu", "eager", "yes"]))
        case None:
            return draw(st.sampled_from([1, 8, 0.5, True, "relu"]))
        case list():
            return value[::-1]
        case dict():
            name = draw(st.sampled_from(sorted(value))) if value else "factor"
            return {**value, name: other_value(value.get(name), draw)}
    raise AssertionError(f"no other value of {value!r}")


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, str, Any]:
    """(family, field, value) of one edit of a configuration."""
    family = draw(st.sampled_from(FAMILIES))
    fields = survey(original(family)).text_config.to_dict()
    name = draw(st.sampled_from(sorted(set(fields) - {"model_type", "transformers_version"})))
    return family, name, other_value(fields[name], draw)


@given(edits())
@example(("llama", "rope_parameters", {"rope_type": "default", "rope_theta": 2e7}))
@example(("gemma2", "query_pre_attn_scalar", 16))
@example(("gemma2", "final_logit_softcapping", 3.0))
@example(("granite", "logits_scaling", 4.0))
@example(("gpt_neox", "use_parallel_residual", False))
@example(("qwen2", "max_window_layers", 1))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_changed_field_is_told_or_changes_nothing(edit: tuple[str, str, Any]) -> None:
    family, name, value = edit
    with TemporaryDirectory() as folder:
        mother = edited(original(family), Path(folder) / "mother", **{name: value})
        father = survey(original(family))
        try:
            other = survey(mother)
            said = [sibling_fault(father, other, "mother") or "", *sibling_notes(father, other, "mother")]
        except CheckpointError:
            return  # refused by name
        if any(name in sentence for sentence in said):
            return
        assert torch.equal(logits(mother), logits_of(family)), f"{family}: {name} = {value!r} is not told"


@pytest.mark.parametrize(
    ("family", "fields", "refused", "words"),
    [
        ("llama", {"rms_norm_eps": 1e-3}, False, "rms_norm_eps 0.001"),
        ("llama", {"hidden_act": "gelu"}, True, "hidden_act gelu, the father silu"),
        ("llama", {"num_attention_heads": 2, "head_dim": 16, "num_key_value_heads": 1}, True, "num_attention_heads 2"),
        ("gemma2", {"attn_logit_softcapping": None}, False, "attn_logit_softcapping None"),
        ("gemma2", {"layer_types": ["full_attention"] * 4}, False, "layer_types"),
        ("gpt_neox", {"use_parallel_residual": False}, True, "use_parallel_residual False"),
        ("llama", {"use_cache": False, "attention_dropout": 0.3, "bos_token_id": 3}, False, ""),
    ],
)
def test_fields_are_refused_where_weights_mean_something_else_and_told_where_they_do_not(
    family: str, fields: dict[str, Any], refused: bool, words: str, tmp_path: Path
) -> None:
    father, mother = survey(original(family)), survey(edited(original(family), tmp_path / "mother", **fields))
    fault, notes = sibling_fault(father, mother, "mother"), sibling_notes(father, mother, "mother")
    assert bool(fault) == refused
    assert words in (fault or " ".join(notes))
    assert words or not notes


def retokenized(folder: Path, out: Path, change: Any) -> Path:
    shutil.copytree(folder, out)
    data = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))
    change(data)
    (out / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    return out


def add(data: dict[str, Any], token: str, number: int) -> None:
    data["added_tokens"].append({**data["added_tokens"][0], "content": token, "id": number})


def swap_two(data: dict[str, Any]) -> None:
    vocabulary = data["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def move_special(data: dict[str, Any]) -> None:
    for token in data["added_tokens"]:
        if token["content"] == "<bos>":
            token["id"] = 260


def rename_special(data: dict[str, Any]) -> None:
    for token in data["added_tokens"]:
        if token["content"] == "<pad>":
            token["content"] = "<|im_start|>"


@pytest.mark.parametrize(
    ("change", "fault", "note"),
    [
        (swap_two, "2 tokens other ids", ""),
        (move_special, "1 tokens other ids", ""),
        (rename_special, None, "'<|im_start|>'"),
        (lambda data: add(data, "<tool>", 261), None, "1 tokens of the mother are unknown to the child"),
        (lambda data: add(data, "[PAD]", toys.VOCABULARY), None, ""),
    ],
)
def test_rows_are_compared_by_token(change: Any, fault: str | None, note: str, tmp_path: Path) -> None:
    father = survey(original("llama"))
    mother = survey(retokenized(original("llama"), tmp_path / "mother", change))
    said, notes = sibling_fault(father, mother, "mother"), sibling_notes(father, mother, "mother")
    assert (said is None) == (fault is None) and (fault or "") in (said or "")
    assert note in " ".join(notes) and (bool(note) or bool(fault) or not notes)


def test_a_father_who_lacks_a_tokenizer_is_not_compared_in_silence(tmp_path: Path) -> None:
    father = shutil.copytree(original("llama"), tmp_path / "father", ignore=shutil.ignore_patterns("tokenizer*"))
    notes = sibling_notes(survey(Path(father)), survey(original("llama")), "mother")
    assert notes == ("tokenizers are not compared: the father has none that lists its tokens",)


TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("father_chats", "mother_chats", "words"),
    [
        (False, True, "it has no chat template (mother has one) and the father's end token <eos> (257), where mother"),
        (True, False, "it has the father's chat template (mother has none) and the father's end token"),
        (True, True, ""),
    ],
)
def test_one_sentence_says_whose_template_and_end_token_the_child_has(
    father_chats: bool, mother_chats: bool, words: str, tmp_path: Path
) -> None:
    folders = {}
    for role, chats in (("father", father_chats), ("mother", mother_chats)):
        folders[role] = Path(shutil.copytree(original("llama"), tmp_path / role))
        if chats:
            (folders[role] / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
            (folders[role] / "generation_config.json").write_text('{"eos_token_id": [257, 256]}', encoding="utf-8")
    notes = sibling_notes(survey(folders["father"]), survey(folders["mother"]), "mother")
    assert (len(notes) == 1 and words in notes[0]) if words else not notes


def test_a_template_inside_the_tokenizers_configuration_counts(tmp_path: Path) -> None:
    mother = edited(original("llama"), tmp_path / "mother", "tokenizer_config.json", chat_template=TEMPLATE)
    (note,) = sibling_notes(survey(original("llama")), survey(mother), "mother")
    assert "no chat template (mother has one)" in note and "end token" not in note
