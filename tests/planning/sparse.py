"""Model folders as large as real ones that take no room on disk."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def sparse_model(folder: Path, family: str, layers: int, hidden: int, ffn: int, vocabulary: int) -> Path:
    """A folder as large as a real model whose weights are a hole in the file, so that reading them takes minutes.

    Args:
        folder: to make.
        family: the model type of its configuration.
        layers: number of layers.
        hidden: hidden size.
        ffn: FFN width.
        vocabulary: number of tokens.

    Returns:
        The folder.
    """
    folder.mkdir()
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        place = f"model.layers.{i}."
        shapes |= {f"{place}mlp.gate_proj.weight": (ffn, hidden), f"{place}mlp.up_proj.weight": (ffn, hidden)}
        shapes |= {f"{place}mlp.down_proj.weight": (hidden, ffn), f"{place}self_attn.o_proj.weight": (hidden, 2048)}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)
    config = {
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": ffn,
        "vocab_size": vocabulary,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
