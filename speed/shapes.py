"""Parents of real shapes with random weights, written shard by shard: no model is ever in memory.

The shapes are those recorded with the package (``darwin_mri/checkpoints/shapes``). ``small`` keeps every mechanism
(sliding and full attention, shared keys and values, per-layer embeddings, GatedDeltaNet, the wrapper) at a size that
two cores read in minutes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from darwin_mri.checkpoints import find_model
from darwin_mri.checkpoints.meta import whole_meta_model
from darwin_mri.checkpoints.skeleton import configuration_alone, saved_tensors

PARENTS = {"father": ("google/gemma-4-E4B-it", "gemma4-base"), "mother": ("Qwen/Qwen3.5-4B", "qwen35-mother")}
SPREAD = 0.02  # of every matrix
SHARD = 2 * 2**30  # bytes; a larger tensor has a shard of its own
SMALL: dict[str, dict[str, Any]] = {
    "father": {
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "global_head_dim": 128,
        "num_kv_shared_layers": 6,
        "hidden_size_per_layer_input": 32,
        "vocab_size": 4096,
        "vocab_size_per_layer_input": 4096,
    },
    "mother": {
        "hidden_size": 256,
        "intermediate_size": 928,
        "num_hidden_layers": 8,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 64,
        "linear_num_key_heads": 4,
        "linear_num_value_heads": 8,
        "linear_key_head_dim": 32,
        "linear_value_head_dim": 32,
        "vocab_size": 4096,
    },
}
SMALL_TOWERS: dict[str, dict[str, Any]] = {
    "father": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
    },
    "mother": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "depth": 2,
        "num_heads": 2,
        "out_hidden_size": 256,
    },
}


def configuration(role: str, small: bool, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A parent's config.json: the recorded one, or its small version.

    Args:
        role: father or mother.
        small: whether sizes are scaled down.
        changes: fields of the text model that are replaced.

    Returns:
        The configuration as a dictionary.
    """
    alone = configuration_alone(PARENTS[role][0])
    assert alone is not None
    config = json.loads(json.dumps(alone.config))
    if small:
        config["text_config"] |= SMALL[role]
        config["vision_config"] |= SMALL_TOWERS[role]
    config["text_config"] |= changes or {}
    return config


def write_parent(
    folder: Path, role: str, *, small: bool, seed: int = 0, changes: Mapping[str, Any] | None = None
) -> Path:
    """Write one parent: wrapped folder, bf16, sharded, with the tokenizer of a nursery model.

    The ids of that tokenizer fit any vocabulary. Matrices are normal with deviation ``SPREAD``; vectors and scalars
    take the value the family starts them with.

    Args:
        folder: where it is written; must not exist.
        role: father or mother.
        small: whether sizes are scaled down.
        seed: of the values.
        changes: fields of the text model's configuration that are replaced.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    config = configuration(role, small, changes)
    model, known = whole_meta_model(config, role)
    known.architectures = [type(model).__name__]
    known.save_pretrained(folder)
    starts = _starts(role)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # a CPU takes minutes to draw a full parent
    generator = torch.Generator(device).manual_seed(seed)
    index: dict[str, str] = {}
    for number, group in enumerate(_groups(model)):
        tensors = {name: _values(name, shape, starts, generator) for name, shape in group.items()}
        shard = f"model-{number + 1:05d}.safetensors"
        save_file(tensors, folder / shard, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, shard)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    source = find_model(f"nursery:{PARENTS[role][1]}").folder
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)
    return folder


def _groups(model: Any) -> Iterator[dict[str, tuple[int, ...]]]:
    """Tensors as they are saved, in shards of at most ``SHARD`` bytes."""
    group: dict[str, tuple[int, ...]] = {}
    size = 0
    for name, value in saved_tensors(model).items():
        if group and size + 2 * value.numel() > SHARD:
            yield group
            group, size = {}, 0
        group[name] = tuple(value.shape)
        size += 2 * value.numel()
    yield group


def _starts(role: str) -> dict[str, float]:
    """Start values of a family's vectors and scalars, by ``_kind``: their mean in a small model of its own class."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    model: Any = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**configuration(role, small=True)))
    return {_kind(name): float(value.float().mean()) for name, value in model.state_dict().items() if value.dim() < 2}


def _kind(name: str) -> str:
    """The last two parts of a tensor's name without numbers: a large model has more layers than a small one."""
    return ".".join([part for part in name.split(".") if not part.isdigit()][-2:])


def _values(name: str, shape: tuple[int, ...], starts: Mapping[str, float], generator: torch.Generator) -> torch.Tensor:
    if len(shape) < 2:
        return torch.full(shape, starts[_kind(name)], dtype=torch.bfloat16)
    return (
        torch.empty(shape, dtype=torch.bfloat16, device=generator.device).normal_(0, SPREAD, generator=generator).cpu()
    )
