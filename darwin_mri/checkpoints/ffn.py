"""One FFN as plain matrices: reading them, re-computing them, naming their activation, measuring a norm's gain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import ACT2FN

from darwin_mri import seeds
from darwin_mri.checkpoints.names import ACTIVATION_FIELDS, ACTIVATION_NAMES
from darwin_mri.records import FfnAnatomy

PARAMETRIC = ("prelu", "xielu")  # activations with weights of their own: no name says what they compute
USUAL_ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "relu", "relu2")
GAIN_PROBES = 256


def submodule(layer: nn.Module, dotted_name: str) -> nn.Module:
    """The part of a layer with a name relative to it (``mlp.gate_proj``)."""
    return layer.get_submodule(dotted_name)


def ffn_matrices(layer: nn.Module, ffn: FfnAnatomy) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """The FFN's matrices in fp32, each as (out, in): a view where the model is fp32 already, a copy otherwise.

    Args:
        layer: the decoder layer.
        ffn: its anatomy.

    Returns:
        gate (width, hidden) or None in an ungated FFN, up (width, hidden), down (hidden, width).
    """
    gate, up, down = _stored_matrices(layer, ffn)
    return (None if gate is None else gate.float()), up.float(), down.float()


def recompute_ffn(layer: nn.Module, ffn: FfnAnatomy, x: torch.Tensor) -> torch.Tensor:
    """The FFN re-computed from its stored matrices and biases: down(act(gate x) * up x), or down(act(up x)) ungated.

    Args:
        layer: the decoder layer.
        ffn: its anatomy.
        x: FFN input of shape (..., hidden), in the model's dtype: the same roundings then happen in the same order.

    Returns:
        The FFN's output, shape (..., hidden).
    """
    gate, up, down = _stored_matrices(layer, ffn)
    gate_bias, up_bias = _first_biases(layer, ffn)
    act = activation_function(ffn.activation)
    neurons = functional.linear(x, up, up_bias)
    neurons = act(neurons) if gate is None else act(functional.linear(x, gate, gate_bias)) * neurons
    return functional.linear(neurons, down, getattr(submodule(layer, ffn.down), "bias", None))


def activation_function(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The activation with a name of transformers' table (``silu``, ``gelu_pytorch_tanh``)."""
    return ACT2FN[name]


def activation_names(module: nn.Module, config: Any) -> list[str]:
    """Names that the activation of an FFN may have, the likeliest first; re-computing the FFN decides between several.

    The module's own function is compared by value on a grid, because a configuration may hold several names. Where the
    module keeps its function in another place, the configuration's names are all there is, and without those (LFM2) the
    usual ones.

    Args:
        module: the FFN.
        config: the text configuration.

    Returns:
        Names of transformers' table; none where the function is none of them (xIELU learns its shape).
    """
    fields = config.to_dict()
    named = [fields[field] for field in ACTIVATION_FIELDS if isinstance(fields.get(field), str)]
    named = [name for name in named if name in ACT2FN and name not in PARAMETRIC]
    functions: list[Any] = [getattr(module, name) for name in ACTIVATION_NAMES if callable(getattr(module, name, None))]
    if not functions:
        return named or list(USUAL_ACTIVATIONS)
    function = functions[0]
    if isinstance(function, nn.Module) and any(True for _ in function.parameters()):
        return []
    grid = torch.linspace(-8, 8, 257)
    values = function(grid)
    for name in (*named, *(key for key in ACT2FN if key not in PARAMETRIC)):
        if torch.allclose(activation_function(name)(grid), values, atol=1e-6):
            return [name]
    return []


@torch.no_grad()
def effective_gain(norm_module: nn.Module, hidden_size: int) -> tuple[torch.Tensor, float]:
    """The gain a norm applies per feature, measured: y = g * z / rms(z), regressed over random z in fp32.

    Gemma 4 keeps g in ``weight``, Qwen 3.5 keeps g - 1; measuring needs to know neither.

    Args:
        norm_module: the norm.
        hidden_size: its width.

    Returns:
        g of shape (hidden,) in fp32 on the norm's device, and the relative residual |y - g z / rms(z)| / |y|: about
        1e-6 for an RMS norm, far more for a LayerNorm, whose mean and bias no gain can express.
    """
    norm = copy.deepcopy(norm_module).float()
    # The copy carries hooks along, and a scan's own hooks must not count these probes.
    norm._forward_hooks.clear()
    norm._forward_pre_hooks.clear()
    parameter = next(norm.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(seeds.integer(0, "norm gain"))
    # A mean of 1 makes LayerNorm's centring show.
    z = 1 + torch.randn(GAIN_PROBES, hidden_size, generator=generator)
    z = z.to(parameter.device)  # (probes, hidden)
    unit = z * z.square().mean(dim=1, keepdim=True).rsqrt()
    y = norm(z)
    gain = (y * unit).sum(dim=0) / unit.square().sum(dim=0)
    residual = (y - gain * unit).norm() / y.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return gain, float(residual)


def _stored_matrices(layer: nn.Module, ffn: FfnAnatomy) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """(gate, up, down) as (out, in) views in the model's dtype."""
    up = _matrix(layer, ffn.up, ffn.transposed)
    down = _matrix(layer, ffn.down, ffn.transposed)
    if ffn.fused_gate_up:
        gate, up = up.chunk(2, dim=0)
        return gate, up, down
    return (None if ffn.gate is None else _matrix(layer, ffn.gate, ffn.transposed)), up, down


def _matrix(layer: nn.Module, name: str, transposed: bool) -> torch.Tensor:
    weight = submodule(layer, name).weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach().T if transposed else weight.detach()


def _first_biases(layer: nn.Module, ffn: FfnAnatomy) -> tuple[Any, Any]:
    """Biases of gate and up, None where there are none."""
    up = getattr(submodule(layer, ffn.up), "bias", None)
    if ffn.gate is None:
        return None, up
    if ffn.fused_gate_up:
        return (None, None) if up is None else tuple(up.chunk(2))
    return getattr(submodule(layer, ffn.gate), "bias", None), up
