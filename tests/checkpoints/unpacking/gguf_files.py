"""GGUF files for tests: pico models written with the gguf package."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import pre_tokenizers

from darwin_mri.checkpoints import find_model, load_model
from tests.toys import SPECIALS, VOCABULARY

ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "gemma3_text": "gemma3"}


def write_gguf(folder: Path, path: Path, family: str, kind: str) -> Path:
    """Write a pico model's folder as llama.cpp's converter would.

    Args:
        folder: the pico model's.
        path: the new file.
        family: one of ``ARCHITECTURES``.
        kind: of the matrices: ``F16``, ``Q8_0`` and so on; norms and biases are F32.

    Returns:
        The file.
    """
    model = load_model(find_model(str(folder)), device="cpu", dtype="float32")
    config = model.config
    architecture = ARCHITECTURES[family]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("pico")
    writer.add_license("mit")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family == "gemma3_text":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        writer.add_sliding_window(config.sliding_window)
    else:
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    for name, value in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        tensor, bare = value.float(), name.rpartition(".")[0]
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            tensor = _interleaved(
                tensor, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            )
        if family == "gemma3_text" and "norm" in name:
            tensor = tensor + 1
        target = f"{names.get_name(bare)}{name.removeprefix(bare)}"
        quantised = gguf.GGMLQuantizationType[kind if tensor.dim() == 2 else "F32"]
        data = gguf.quantize(np.ascontiguousarray(tensor.numpy()), quantised)
        writer.add_tensor(target, data, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIALS]
    normal, special = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    kinds = [special if token in SPECIALS else normal for token in tokens] + [normal] * (VOCABULARY - len(tokens))
    tokens += ["ab", *(f"<unused{number}>" for number in range(VOCABULARY - len(tokens) - 1))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    for name, add in (("<pad>", "pad"), ("<eos>", "eos"), ("<bos>", "bos")):
        getattr(writer, f"add_{add}_token_id")(tokens.index(name))
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotary halves side by side, as ggml rotates neighbouring values."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
