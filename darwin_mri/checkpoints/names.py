"""The short list of names that families give to the parts of a layer; everything else is found by data flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import nn

FFN_NAMES = ("mlp", "feed_forward", "ffn", "mlp_block", "shared_mlp")
MOE_NAMES = ("block_sparse_moe", "moe", "experts", "router", "shared_expert")
ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
MIXER_NAMES = (*ATTENTION_NAMES, "linear_attn", "mamba", "temporal_block", "conv", "mixer")
ROUTER_WORDS = ("router", "gate")
TOP_K_FIELDS = ("top_k", "num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k")
# Nemotron-H calls every layer's one part `mixer`, the FFNs too; the class name tells them apart.
FFN_CLASS_WORDS = ("MLP", "FeedForward")

GATED = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
FUSED = (("gate_up_proj", "down_proj"), ("input_linear", "output_linear"))
UNGATED = (
    ("up_proj", "down_proj"),
    ("fc1", "fc2"),
    ("c_fc", "c_proj"),
    ("fc_in", "fc_out"),
    ("dense_h_to_4h", "dense_4h_to_h"),
)
ACTIVATION_NAMES = ("act_fn", "activation_fn", "act", "activation", "activation_func")
ACTIVATION_FIELDS = ("hidden_activation", "hidden_act", "activation_function", "mlp_hidden_act")


class Layout(NamedTuple):
    """Names of the projections inside an FFN. ``gate`` equals ``up`` where one matrix holds both."""

    gate: str | None
    up: str
    down: str
    fused: bool


def ffn_layout(module: nn.Module) -> Layout | None:
    """The layout of an FFN module's projections, None where they are not one of the known sets."""
    for gate, up, down in GATED:
        if _has(module, gate, up, down):
            return Layout(gate, up, down, fused=False)
    for up, down in FUSED:
        if _has(module, up, down):
            return Layout(up, up, down, fused=True)
    for up, down in UNGATED:
        if _has(module, up, down):
            return Layout(None, up, down, fused=False)
    return None


def _has(module: nn.Module, *names: str) -> bool:
    """Whether all of the named children are there, each with a weight matrix."""
    for name in names:
        weight = getattr(getattr(module, name, None), "weight", None)
        if weight is None or weight.dim() != 2:
            return False
    return True
