"""The shapes of the nursery's models, and how their weights are initialised."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    PreTrainedModel,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
)

# Positions that the configuration states, longer than the sequences trained on: no item of CLIcK, MuSR and GPQA diamond
# is longer, so that the real benchmarks run on the nursery with default options.
CONTEXT = 8192


def new_model(family: str, vocabulary: int) -> PreTrainedModel:
    """A randomly initialised nursery model (call ``torch.manual_seed`` first).

    Args:
        family: "gemma4_text", else Qwen3.5 text.
        vocabulary: number of tokens.
    """
    model = _empty_model(family, vocabulary)
    _initialise(model)
    return model


@torch.no_grad()
def _initialise(model: PreTrainedModel) -> None:
    """Scales for a narrow model: with those of the configs, which suit a hidden size of thousands, no fact is learned.

    Matrices get fan-in scale. What a sublayer adds starts at (2 layers)^-1/2 of the embedding's size, so that the token
    is not drowned: by the post-norms' gains (Gemma), or the output projections (Qwen). Gemma's attention has no
    1/sqrt(d), so its query gains start there. docs/LOG.md has the difference measured.
    """
    share = (2 * model.config.num_hidden_layers) ** -0.5
    sandwich = any("post_feedforward" in name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            parameter.normal_(0, parameter.shape[1] ** -0.5)
        if sandwich and "q_norm" in name:
            parameter.fill_(parameter.numel() ** -0.5)
        if sandwich and ".post_" in name:
            parameter.fill_(share)
        if not sandwich and name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
            parameter.mul_(share)


def _empty_model(family: str, vocabulary: int) -> PreTrainedModel:
    if family == "gemma4_text":
        undeclared: dict[str, Any] = {"global_head_dim": 32}  # taken by the config's __post_init__
        return Gemma4ForCausalLM(
            Gemma4TextConfig(
                vocab_size=vocabulary,
                vocab_size_per_layer_input=vocabulary,
                hidden_size=128,
                intermediate_size=1536,
                num_hidden_layers=8,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                **undeclared,
                layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention", "full_attention"],
                sliding_window=64,
                hidden_size_per_layer_input=16,
                num_kv_shared_layers=2,
                final_logit_softcapping=30.0,
                max_position_embeddings=CONTEXT,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=2,
            )
        )
    return Qwen3_5ForCausalLM(
        Qwen3_5TextConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            linear_key_head_dim=32,
            linear_value_head_dim=32,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            tie_word_embeddings=True,
            max_position_embeddings=CONTEXT,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
        )
    )
