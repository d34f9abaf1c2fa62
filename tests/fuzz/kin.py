"""Sound models that differ as real ones do: names, tying, vocabularies, leftovers, fields that change what is computed.

A merge of such parents must be refused in one line, or give the child that their weights give through transformers'
own loader; and a field that changes what the same weights compute must not pass without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.fuzz.hostile import Draw

HEAD, EMBEDDINGS, NORM = "lm_head.weight", "model.embed_tokens.weight", "model.norm.weight"
COMPUTING: dict[str, tuple[Any, ...]] = {  # field -> other values under which the same weights load
    "rms_norm_eps": (1e-2,),
    "hidden_act": ("gelu", "relu"),
    "rope_parameters": ({"rope_theta": 500000.0, "rope_type": "default"},),
    "num_attention_heads": (2,),
    "model_type": ("mistral",),
}
SILENT: dict[str, tuple[Any, ...]] = {  # field -> other values that change nothing here, or what a loader refuses
    "tie_word_embeddings": (True, False),
    "attention_bias": (True,),
    "mlp_bias": (True,),
    "max_position_embeddings": (64, 100000),
    "dtype": ("float32", "float16"),
    "architectures": (["LlamaModel"], [], None),
    "pad_token_id": (999, -1, None),
    "eos_token_id": ([257, 258], 10_000),
    "quantization_config": ({"quant_method": "fp8"}, {"quant_method": "gptq", "bits": 4}),
    "transformers_weights": ("other.safetensors",),
    "auto_map": ({"AutoModelForCausalLM": "modeling.Model"},),
    "num_hidden_layers": (1, 3),
    "vocab_size": (100, 300),
}
Tensors = dict[str, torch.Tensor]


def change_kin(draw: Draw, folder: Path) -> str:
    """Change one parent of a recipe as a real sibling may differ, and write the recipe; what was done."""
    role = draw(st.sampled_from(("father", "mother")))
    kind = draw(st.sampled_from(tuple(CHANGES)))
    weight = draw(st.sampled_from((0.0, 0.25, 0.5, 1.0)))
    note = CHANGES[kind](draw, folder / role)
    recipe = {
        "models": [
            {"model": "father", "parameters": {"weight": 1 - weight}},
            {"model": "mother", "parameters": {"weight": weight}},
        ],
        "merge_method": "linear",
        "dtype": "float32",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    (folder / "expected.json").write_text(json.dumps({"weight": weight, "told": _field(note)}), encoding="utf-8")
    return f"{role}: {note}, mother's weight {weight}"


def _field(note: str) -> str:
    """The field that a message must name; empty where none has to."""
    field = note.partition(" ")[0]
    return field if field in COMPUTING else ""


def _config(fields: dict[str, tuple[Any, ...]]) -> Callable[[Draw, Path], str]:
    def change(draw: Draw, model: Path) -> str:
        name = draw(st.sampled_from(tuple(fields)))
        value = draw(st.sampled_from(fields[name]))
        config = json.loads((model / "config.json").read_text())
        config[name] = value
        (model / "config.json").write_text(json.dumps(config))
        return f"{name} = {value}"

    return change


def _tensors(change: Callable[[Draw, Tensors], str]) -> Callable[[Draw, Path], str]:
    """A change of all tensors, which then lie in one file or in two without an index's help."""

    def rewrite(draw: Draw, model: Path) -> str:
        tensors: Tensors = {}
        for path in sorted(model.glob("*.safetensors")):
            tensors |= load_file(path)
            path.unlink()
        (model / "model.safetensors.index.json").unlink()
        note = change(draw, tensors)
        save_file({name: value.contiguous() for name, value in tensors.items()}, model / "model.safetensors")
        return note

    return rewrite


def _prefix(draw: Draw, tensors: Tensors) -> str:
    old, new = draw(
        st.sampled_from(
            (("model.", ""), ("", "module."), ("model.", "language_model.model."), ("", "base_model.model."))
        )
    )
    for name in list(tensors):
        if name.startswith(old):
            tensors[new + name.removeprefix(old)] = tensors.pop(name)
    return f"names with {new!r} for {old!r}"


def _head(draw: Draw, tensors: Tensors) -> str:
    kind = draw(st.sampled_from(("no head", "the head is the embeddings", "no final norm")))
    if kind == "no head":
        tensors.pop(HEAD, None)
    elif kind == "no final norm":
        del tensors[NORM]
    else:
        tensors[HEAD] = tensors[EMBEDDINGS].clone()
    return kind


def _extra(draw: Draw, tensors: Tensors) -> str:
    name, shape = draw(
        st.sampled_from(
            (
                ("model.layers.0.self_attn.rotary_emb.inv_freq", (4,)),
                ("vision_tower.patch.weight", (8, 8)),
                ("model.layers.7.mlp.up_proj.weight", (48, 32)),
                ("value_head.weight", (1, 32)),
                ("model.layers.0.self_attn.q_proj.bias", (32,)),
            )
        )
    )
    tensors[name] = torch.ones(shape)
    return f"also {name}"


def _shape(draw: Draw, tensors: Tensors) -> str:
    name = draw(st.sampled_from(sorted(tensors)))
    kind = draw(st.sampled_from(("transposed", "flat", "one row more", "one row less")))
    value = tensors[name]
    more = torch.cat([value, value[:1]])
    tensors[name] = {
        "transposed": value.T,
        "flat": value.reshape(-1),
        "one row more": more,
        "one row less": value[:-1],
    }[kind]
    return f"{name} {kind}"


def _values(draw: Draw, tensors: Tensors) -> str:
    name = draw(st.sampled_from(sorted(tensors)))
    kind = draw(st.sampled_from(("float16", "float32", "float64", "float8_e4m3fn", "int8", "nan", "inf")))
    if kind in ("nan", "inf"):
        tensors[name] = tensors[name].clone()
        tensors[name].view(-1)[0] = float(kind)
    else:
        tensors[name] = tensors[name].to(getattr(torch, kind))
    return f"{name} {kind}"


def _rows(draw: Draw, model: Path) -> str:
    """Another number of embedding rows, as a tokenizer with added tokens brings, or a multiple of 64."""
    rows = draw(st.sampled_from((259, 260, 262, 265, 320)))

    def resize(_: Draw, tensors: Tensors) -> str:
        for name in (EMBEDDINGS, HEAD):
            if name in tensors:
                value = tensors[name]
                tensors[name] = torch.cat([value, value[:64]])[:rows]
        return f"{rows} rows"

    note = _tensors(resize)(draw, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
    return note


def _tokens(draw: Draw, model: Path) -> str:
    path = model / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    kind = draw(st.sampled_from(("swapped", "added", "special added", "gone")))
    names = sorted(vocabulary)
    if kind == "swapped":
        vocabulary[names[0]], vocabulary[names[1]] = vocabulary[names[1]], vocabulary[names[0]]
    elif kind == "gone":
        del vocabulary[names[-1]]
    else:
        token = {
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != "added",
        }
        data["added_tokens"].append({"id": 259, "content": "<new>", **token})
    path.write_text(json.dumps(data))
    return f"a token {kind}"


def _beside(draw: Draw, model: Path) -> str:
    name = draw(
        st.sampled_from(
            (
                "pytorch_model.bin",
                "adapter_config.json",
                "consolidated.safetensors",
                "model.gguf",
                "modeling.py",
                "original/params.json",
            )
        )
    )
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(b"{}")
    return f"{name} beside"


CHANGES: dict[str, Callable[[Draw, Path], str]] = {
    "computing": _config(COMPUTING),
    "silent": _config(SILENT),
    "prefix": _tensors(_prefix),
    "head": _tensors(_head),
    "extra": _tensors(_extra),
    "shape": _tensors(_shape),
    "values": _tensors(_values),
    "rows": _rows,
    "tokens": _tokens,
    "beside": _beside,
}


def child_fault(folder: Path, messages: str) -> str:
    """What is wrong with the child that was written of changed parents; empty where nothing is.

    Args:
        folder: of the case.
        messages: what the command said.

    Returns:
        A line.
    """
    expected = json.loads((folder / "expected.json").read_text())
    if expected["told"] and expected["told"].replace("_parameters", "") not in messages:
        return f"{expected['told']} differs, and nothing was said"
    models = {}
    for name in ("father", "mother", "out/child"):
        try:
            models[name] = _load(folder / name)
        except Exception as error:
            return f"{name} does not load, and a child was written: {str(error)[:120]}"
    father, mother, child = models["father"], models["mother"], models["out/child"]
    for name, value in child.items():
        one, two = father.get(name), mother.get(name)
        if one is None or two is None or one.shape != two.shape:
            continue
        weight = expected["weight"]
        parts = [share * part.double() for share, part in ((1 - weight, one), (weight, two)) if share]  # 0 x nan is 0
        wanted = torch.stack(parts).sum(0)
        if value.shape != wanted.shape or not torch.allclose(value.double(), wanted, rtol=2**-7, atol=1e-6):
            return f"the child's {name} is not what its parents' are"
    return ""


def _load(folder: Path) -> Tensors:
    """A model's state as transformers' own loader has it; raises where a weight was made up."""
    import transformers

    loader: Any = transformers.AutoModelForCausalLM
    model, info = loader.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(f"weights are missing: {sorted(info['missing_keys'])[:2]}")
    return {name: value.detach() for name, value in model.state_dict().items()}
