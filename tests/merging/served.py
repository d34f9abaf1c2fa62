"""Pico fathers that other engines can serve: with tokenizers and sizes that llama.cpp and vLLM know."""

from __future__ import annotations

import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from tests.toys import SPECIALS, pico_gemma4, pico_qwen35

ROTARY = {
    "rope_type": "default",
    "rope_theta": 1e7,
    "partial_rotary_factor": 0.25,
    "mrope_section": [4, 2, 2],
    "mrope_interleaved": True,
}


def gemma4(path: Path) -> Path:
    """A wrapped Gemma 4 in bf16, sharded, with a tokenizer of Gemma's kind."""
    tokenizer = _gemma_tokenizer()
    size = len(tokenizer)
    pico_gemma4(
        path, wrapped=True, dtype="bfloat16", max_shard_size="60KB", vocab_size=size, vocab_size_per_layer_input=size,
        head_dim=32, global_head_dim=64, hidden_size=64, intermediate_size=96,
    )  # fmt: skip
    tokenizer.save_pretrained(path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["vision_config"]["default_output_length"] = 4  # in every published config; vLLM reads it
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def qwen35(path: Path) -> Path:
    """A wrapped Qwen 3.5 in bf16, sharded, with head sizes that vLLM's kernels take."""
    pico_qwen35(
        path, wrapped=True, dtype="bfloat16", max_shard_size="60KB", head_dim=64, linear_key_head_dim=128,
        linear_value_head_dim=128, rope_parameters=ROTARY,
    )  # fmt: skip
    _qwen_tokenizer().save_pretrained(path)
    return path


def _gemma_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Pieces with bytes to fall back on, as Gemma's and Llama's; pad, eos and bos are its first tokens."""
    pieces = [*SPECIALS, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    pieces += ["th", "▁th", "▁the"]
    model = models.BPE(
        vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("t", "h"), ("▁", "th"), ("▁th", "e")],
        byte_fallback=True, unk_token="<unk>", fuse_unk=True,
    )  # fmt: skip
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _fast(tokenizer)


def _qwen_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Byte-level, with one merge: llama.cpp takes none without."""
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    tokenizer = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[("t", "h")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _fast(tokenizer)


def _fast(tokenizer: Tokenizer) -> transformers.PreTrainedTokenizerFast:
    tokenizer.add_special_tokens(list(SPECIALS))
    pad, eos, bos = SPECIALS
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, bos_token=bos)
