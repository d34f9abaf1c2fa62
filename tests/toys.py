"""Pico checkpoints of real families, saved as users have them: weights, configuration and tokenizer in a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from darwin_mri.checkpoints import quiet

HIDDEN = 32
WIDTH = 48
LAYERS = 4
SPECIALS = ("<pad>", "<eos>", "<bos>")
VOCABULARY = 256 + len(SPECIALS) + 5  # a few rows no token uses, as real models have
IDS = {"pad_token_id": 256, "eos_token_id": 257, "bos_token_id": 258}
CORE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    **IDS,
}
SLIDING = ["sliding_attention", "full_attention"] * (LAYERS // 2)
LATENT = {  # attention of DeepSeek: queries and keys in fewer dimensions
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}  # fmt: skip
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1}


def pico(
    family: str, path: Path, *, seed: int = 0, max_shard_size: str = "1GB", dtype: str = "float32", **changes: Any
) -> Path:
    """Save a random pico model of a family with its tokenizer.

    Args:
        family: one of ``FAMILIES`` (a text configuration's model type).
        path: folder to make.
        seed: of all weights.
        max_shard_size: split the weights into shards of this size (``"40KB"``).
        dtype: of the saved weights.
        changes: configuration fields to set otherwise.

    Returns:
        The folder.
    """
    return _save(FAMILIES[family](changes), path, seed, max_shard_size, dtype)


def pico_gemma4(path: Path, *, wrapped: bool = False, vision: bool = True, **options: Any) -> Path:
    """Save a pico Gemma 4: text only, or the multimodal wrapper with a tiny vision tower; options as ``pico``'s."""
    return _text_or_wrapper("gemma4_text", path, wrapped, vision, _wrap_gemma4, options)


def pico_of_few_tokens(path: Path) -> Path:
    """Save a pico Gemma 4 with 100 embeddings and a tokenizer that gives more tokens than that."""
    few: dict[str, Any] = {
        "vocab_size": 100,
        "vocab_size_per_layer_input": 100,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    return pico_gemma4(path, **few)


def pico_qwen35(path: Path, *, wrapped: bool = False, **options: Any) -> Path:
    """Save a pico Qwen 3.5: text only, or the multimodal wrapper with a tiny vision tower; options as ``pico``'s."""
    return _text_or_wrapper("qwen3_5_text", path, wrapped, True, _wrap_qwen35, options)


def pico_llama(path: Path, **options: Any) -> Path:
    """Save a pico Llama; options as ``pico``'s."""
    return pico("llama", path, **options)


def byte_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A tokenizer whose tokens are the 256 bytes, so that any text in any language has ids below 256."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    pad, eos, bos = SPECIALS
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad, eos_token=eos, bos_token=bos)


def _text_or_wrapper(
    family: str,
    path: Path,
    wrapped: bool,
    vision: bool,
    wrap: Callable[[Any, bool], Any],
    options: dict[str, Any],
) -> Path:
    saving = {"seed": 0, "max_shard_size": "1GB", "dtype": "float32"}
    saving = {key: options.pop(key, default) for key, default in saving.items()}
    config = FAMILIES[family](options)
    return _save(wrap(config, vision) if wrapped else config, path, **saving)


def _save(config: Any, path: Path, seed: int, max_shard_size: str, dtype: str) -> Path:
    wrapper = config.get_text_config() is not config
    auto: Any = transformers.AutoModelForImageTextToText if wrapper else transformers.AutoModelForCausalLM
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto.from_config(config)
        _roughen(model)
        model.to(getattr(torch, dtype))
        for name, buffer in model.named_buffers():  # as the family's own folders have them
            if any(part in name for part in model._keep_in_fp32_modules_strict or ()):
                buffer.data = buffer.float()
        model.save_pretrained(path, max_shard_size=max_shard_size)
        byte_tokenizer().save_pretrained(path)
    return path


@torch.no_grad()
def _roughen(model: nn.Module) -> None:
    """Add noise to norm gains, biases and layer scalars: at their initial 0 or 1 no test notices one ignored."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        one_dimensional = value.dim() == 1 and value.is_floating_point()
        if one_dimensional and ("norm" in name or "ln_" in name or name.endswith(("bias", "layer_scalar"))):
            value += 0.2 * torch.randn_like(value)


def _gemma4(changes: dict[str, Any]) -> Any:
    fields = {
        **CORE,
        "head_dim": 8,
        "global_head_dim": 16,
        "layer_types": SLIDING,
        "sliding_window": 16,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCABULARY,
        "final_logit_softcapping": 30.0,
    }
    return transformers.Gemma4TextConfig(**{**fields, **changes})


def _qwen35(changes: dict[str, Any]) -> Any:
    fields = {
        **CORE,
        "intermediate_size": 40,
        "head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "tie_word_embeddings": True,
    }
    return transformers.Qwen3_5TextConfig(**{**fields, **changes})


def _wrap_gemma4(text: Any, vision: bool) -> Any:
    tower = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "patch_size": 4,
        "position_embedding_size": 16,
    }
    return transformers.Gemma4Config(text_config=text.to_dict(), vision_config=tower if vision else None)


def _wrap_qwen35(text: Any, vision: bool) -> Any:
    tower = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_heads": 2,
        "patch_size": 4,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 16,
    }
    return transformers.Qwen3_5Config(text_config=text.to_dict(), vision_config=tower, tie_word_embeddings=True)


def _plain(name: str, **own: Any) -> Callable[[dict[str, Any]], Any]:
    """A family whose configuration takes the common fields."""
    return lambda changes: getattr(transformers, name)(**{**CORE, **own, **changes})


def _gpt2(changes: dict[str, Any]) -> Any:
    fields = {
        "vocab_size": VOCABULARY,
        "n_embd": HIDDEN,
        "n_inner": WIDTH,
        "n_layer": LAYERS,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.15,
    }
    return transformers.GPT2Config(**{**fields, **IDS, **changes})


def _gptj(changes: dict[str, Any]) -> Any:
    fields = {
        "vocab_size": VOCABULARY,
        "n_embd": HIDDEN,
        "n_inner": WIDTH,
        "n_layer": LAYERS,
        "n_head": 4,
        "rotary_dim": 4,
        "n_positions": 512,
        "initializer_range": 0.15,
    }
    return transformers.GPTJConfig(**{**fields, **IDS, **changes})


def _mamba2(changes: dict[str, Any]) -> Any:
    fields = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 2,
        "chunk_size": 8,
        "expand": 2,
    }
    return transformers.Mamba2Config(**{**fields, **IDS, **changes})


FAMILIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "gemma4_text": _gemma4,
    "gemma": _plain("GemmaConfig", head_dim=8),
    "gemma2": _plain("Gemma2Config", head_dim=8, layer_types=SLIDING, sliding_window=16),
    "gemma3_text": _plain("Gemma3TextConfig", head_dim=8, layer_types=SLIDING, sliding_window=16),
    "qwen2": _plain("Qwen2Config"),
    "qwen3": _plain("Qwen3Config", head_dim=8),
    "qwen3_5_text": _qwen35,
    "qwen2_moe": _plain(
        "Qwen2MoeConfig", **EXPERTS, moe_intermediate_size=24, shared_expert_intermediate_size=WIDTH
    ),
    "qwen3_moe": _plain("Qwen3MoeConfig", **EXPERTS, moe_intermediate_size=24, decoder_sparse_step=2),
    "llama": _plain("LlamaConfig"),
    "mistral": _plain("MistralConfig"),
    "mixtral": _plain("MixtralConfig", num_local_experts=2),
    "olmoe": _plain("OlmoeConfig", **EXPERTS),
    "deepseek_v2": _plain(
        "DeepseekV2Config", **LATENT, moe_intermediate_size=24, n_routed_experts=2, n_shared_experts=1,
        num_experts_per_tok=1, first_k_dense_replace=1, topk_method="greedy", n_group=1, topk_group=1,
    ),
    "deepseek_v3": _plain(
        "DeepseekV3Config", **LATENT, moe_intermediate_size=24, n_routed_experts=4, n_shared_experts=1,
        num_experts_per_tok=2, first_k_dense_replace=1, n_group=2, topk_group=1,
    ),
    "llama4_text": _plain(
        "Llama4TextConfig", head_dim=8, intermediate_size_mlp=WIDTH, num_local_experts=2, interleave_moe_layer_step=2,
        attention_chunk_size=64,
    ),
    "granite": _plain("GraniteConfig", residual_multiplier=0.5),
    "granitemoehybrid": _plain(
        "GraniteMoeHybridConfig", shared_intermediate_size=WIDTH, num_local_experts=2, num_experts_per_tok=1,
        layer_types=["mamba", "attention"] * 2, mamba_n_heads=8, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1,
    ),
    "jamba": _plain(
        "JambaConfig", **EXPERTS, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2,
        expert_layer_offset=1, mamba_d_state=8, mamba_dt_rank=4, use_mamba_kernels=False,
    ),
    "smollm3": _plain("SmolLM3Config"),
    "helium": _plain("HeliumConfig", head_dim=8),
    "olmo": _plain("OlmoConfig"),
    "olmo2": _plain("Olmo2Config"),
    "olmo3": _plain("Olmo3Config", layer_types=SLIDING, sliding_window=16),
    "exaone4": _plain("Exaone4Config", layer_types=SLIDING, sliding_window=16),
    "glm": _plain("GlmConfig", head_dim=8),
    "glm4": _plain("Glm4Config", head_dim=8),
    "stablelm": _plain("StableLmConfig"),
    "hyperclovax": _plain("HyperCLOVAXConfig"),
    "phi": _plain("PhiConfig"),
    "phi3": _plain("Phi3Config"),
    "gpt2": _gpt2,
    "gptj": _gptj,
    "gpt_neox": _plain("GPTNeoXConfig"),
    "gpt_oss": _plain("GptOssConfig", num_local_experts=2, num_experts_per_tok=1, head_dim=8, layer_types=SLIDING),
    "falcon": _plain("FalconConfig", ffn_hidden_size=WIDTH),
    "falcon_h1": _plain(
        "FalconH1Config", head_dim=8, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8
    ),
    "starcoder2": _plain("Starcoder2Config"),
    "cohere": _plain("CohereConfig"),
    "cohere2": _plain("Cohere2Config", layer_types=SLIDING, sliding_window=16),
    "arcee": _plain("ArceeConfig"),
    "apertus": _plain("ApertusConfig"),
    "nemotron": _plain("NemotronConfig"),
    "bamba": _plain(
        "BambaConfig", attn_layer_indices=[1], mamba_n_heads=8, mamba_d_head=8, mamba_n_groups=1, mamba_d_state=8
    ),
    "lfm2": _plain(
        "Lfm2Config", block_ff_dim=WIDTH, block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention"] * 2
    ),
    "recurrent_gemma": _plain(
        "RecurrentGemmaConfig", intermediate_size=2 * WIDTH, lru_width=HIDDEN, head_dim=8, attention_window_size=16
    ),
    "mamba2": _mamba2,
}  # fmt: skip
