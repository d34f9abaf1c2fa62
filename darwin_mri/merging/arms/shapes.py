"""Bringing an FFN into the father's shape, and his FFN's parameters under their names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import activation_function, effective_gain, ffn_matrices, submodule
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Side
from darwin_mri.records import FfnAnatomy, LayerAnatomy

GAIN_FLOOR = (
    0.05  # a gain nearer to zero than this share of the mean would blow up what is divided by it: it is clipped
)
GatedFFN = tuple[Tensor, Tensor, Tensor]
"""gate (width, hidden), up (width, hidden), down (hidden, width), fp32."""


def gated_matrices(side: Side, index: int, who: str) -> GatedFFN:
    """The matrices of a layer's gated FFN without biases; raises InputError where it is another kind."""
    layer, _, ffn = side.ffn(index)
    gate, up, down = ffn_matrices(layer, ffn)
    if gate is None:
        raise InputError(f"{who} layer {index} has no gate in its FFN: use the arm competence")
    biased = [
        name
        for name in (ffn.gate, ffn.up, ffn.down)
        if name and getattr(submodule(layer, name), "bias", None) is not None
    ]
    if biased:
        raise InputError(
            f"{who} layer {index} has a bias in {biased[0]}, which weights alone do not carry: use the arm competence"
        )
    return gate, up, down


def stored(side: Side, index: int, gate: Tensor | None, up: Tensor | None, down: Tensor) -> dict[str, Tensor]:
    """A gated FFN under the father's parameter names, as he keeps them: fused or apart. Absent matrices are left out."""
    _, _, ffn = side.ffn(index)
    place = f"{side.anatomy.prefix}.{index}"
    out = {f"{place}.{ffn.down}.weight": down.T if ffn.transposed else down}
    if gate is None or up is None:
        return out
    if ffn.fused_gate_up:
        return {f"{place}.{ffn.up}.weight": torch.cat([gate, up]), **out}
    return {f"{place}.{ffn.gate}.weight": gate, f"{place}.{ffn.up}.weight": up, **out}


def orders(side: Side, index: int, order: Tensor) -> dict[str, Tensor]:
    """One number per neuron, shaped to broadcast along each of the layer's matrices, under their names."""
    row, column = order[:, None], order[None, :]
    return stored(side, index, row, row, column)


def fit_width(matrix: Tensor, width: int, dimension: int) -> Tensor:
    """Zero-pad or truncate the neuron dimension to ``width``; padding is exact, the added neurons do nothing."""
    have = matrix.shape[dimension]
    if have >= width:
        return matrix.narrow(dimension, 0, width).contiguous()
    shape = list(matrix.shape)
    shape[dimension] = width - have
    return torch.cat([matrix, matrix.new_zeros(shape)], dim=dimension)


def fold_gain(ffn: GatedFFN, mother_gain: Tensor, father_gain: Tensor) -> GatedFFN:
    """The mother's norm gain s_m carried into the columns of gate and up, the father's s_f taken out: W' = W diag(s_m / s_f).

    Exact: mlp'(norm_f(h)) = mlp(norm_m(h)) for RMS norms of equal epsilon.
    """
    gate, up, down = ffn
    scale = (mother_gain.to(gate.device) / guarded(father_gain.to(gate.device))).unsqueeze(0)
    return gate * scale, up * scale, down


def fold_activation(ffn: GatedFFN, mother: str, father: str, gate_rms: float) -> GatedFFN:
    """Gate rescaled by 1/c and up by c so that the father's activation imitates the mother's: act_m(t) ~ c act_f(t / c).

    c minimises the mean squared difference for t ~ N(0, gate_rms) over a grid; equal activations give c = 1.
    """
    gate, up, down = ffn
    if mother == father:
        return ffn
    t = torch.linspace(-4, 4, 401) * max(gate_rms, 1e-3)
    weight = torch.exp(-0.5 * torch.linspace(-4, 4, 401) ** 2)
    wanted, act = activation_function(mother)(t), activation_function(father)
    scales = torch.linspace(0.5, 3.0, 251)
    errors = torch.stack([(weight * (wanted - c * act(t / c)) ** 2).sum() for c in scales])
    c = float(scales[errors.argmin()])
    return gate / c, up * c, down


def norm_gain(layer: nn.Module, name: str | None, width: int) -> Tensor:
    """The gain of a layer's norm, ones where there is none."""
    if name is None:
        return torch.ones(width, device=next(layer.parameters()).device)
    return effective_gain(submodule(layer, name), width)[0]


def guarded(gain: Tensor) -> Tensor:
    """A gain that can be divided by: values near zero are moved away from it, keeping their sign."""
    floor = GAIN_FLOOR * gain.abs().mean()
    return torch.where(gain.abs() < floor, torch.where(gain < 0, -floor, floor), gain)


def rms(x: Tensor) -> Tensor:
    """Root mean square over the last dimension, which is kept."""
    return x.square().mean(-1, keepdim=True).sqrt()


def unit(x: Tensor) -> Tensor:
    """x at an rms of 1: all that an RMS norm lets through of the size of what it is given."""
    return x / rms(x).clamp_min(1e-6)


def equal_hidden(arm: str, father: Side, mother: Side) -> None:
    """Raise InputError unless both residual streams have one width."""
    ours, theirs = father.anatomy.hidden_size, mother.anatomy.hidden_size
    if ours != theirs:
        raise InputError(
            f"arm {arm} needs equal hidden sizes, father has {ours} and mother {theirs}: use aligned, transplant, refit or competence"
        )


def neurons(ffn: GatedFFN, activation: str, x: Tensor) -> Tensor:
    """a = act(gate x) * (up x) of inputs (..., hidden)."""
    gate, up, _ = ffn
    return activation_function(activation)(x @ gate.T) * (x @ up.T)


__all__ = [
    "FfnAnatomy", "GatedFFN", "LayerAnatomy", "equal_hidden", "fit_width", "fold_activation", "fold_gain", "gated_matrices",
    "guarded", "neurons", "norm_gain", "orders", "rms", "stored", "unit",
]  # fmt: skip
