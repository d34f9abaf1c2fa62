"""Model folders as large as real ones that take no room on disk."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from darwin_mri.checkpoints.meta import whole_meta_model
from darwin_mri.checkpoints.skeleton import saved_tensors


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
    config = {
        "model_type": family,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": ffn,
        "vocab_size": vocabulary,
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    }
    model, _ = whole_meta_model(config, folder.name)
    header, at = {}, 0
    for name, tensor in saved_tensors(model).items():
        size = 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
