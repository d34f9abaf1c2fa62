"""Model folders of plain tensors, in any shard layout, for tests that need no model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def tensors(seed: int, dtype: torch.dtype = torch.bfloat16, near: dict[str, torch.Tensor] | None = None) -> dict:
    """Five tensors of several ranks; with ``near``, small steps away from those."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"layers.0.down": (6, 10), "layers.0.up": (10, 6), "layers.1.up": (4, 7), "norm": (5,), "scalar": ()}
    values = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    if near is not None:
        values = {name: near[name].float() + 0.1 * value for name, value in values.items()}
    return {name: value.to(dtype) for name, value in values.items()}


def save_folder(folder: Path, content: dict[str, torch.Tensor], shards: int = 1) -> Path:
    """Write ``content`` as a model folder of one file, or of several with an index, with the usual files beside."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(content, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        weight_map = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(content)}
        for shard in set(weight_map.values()):
            part = {name: value for name, value in content.items() if weight_map[name] == shard}
            save_file(part, folder / shard, metadata={"format": "pt"})
        index = {"metadata": {}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type":   "odd spacing kept"}', encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    return folder
