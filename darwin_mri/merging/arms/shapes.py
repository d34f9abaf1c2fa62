"""Bringing an FFN into the father's shape, and the father's FFN parameters under their names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import LoadedModel, activation_function, effective_gain, ffn_matrices, submodule
from darwin_mri.errors import InputError

GAIN_FLOOR = 0.05  # share of the mean gain below which a gain is clipped: dividing by it would blow up the result
GatedFFN = tuple[Tensor, Tensor, Tensor]
"""gate (width, hidden), up (width, hidden), down (hidden, width), fp32."""


def gated_matrices(parent: LoadedModel, index: int, role: str) -> GatedFFN:
    """The matrices of a layer's gated FFN, which must have no biases.

    Args:
        parent: the model.
        index: of the layer.
        role: ``father`` or ``mother``, for the error.

    Returns:
        gate (width, hidden), up (width, hidden) and down (hidden, width) in fp32, on the model's device.

    Raises:
        InputError: the layer has another kind of FFN, or none.
    """
    layer, _, ffn = parent.ffn(index)
    gate, up, down = ffn_matrices(layer, ffn)
    if gate is None:
        raise InputError(f"{role} layer {index} has no gate in its FFN: use the arm competence")
    biased = [
        name
        for name in (ffn.gate, ffn.up, ffn.down)
        if name and getattr(submodule(layer, name), "bias", None) is not None
    ]
    if biased:
        raise InputError(
            f"{role} layer {index} has a bias in {biased[0]}, which weights alone do not carry: use the arm competence"
        )
    return gate, up, down


def as_parameters(
    parent: LoadedModel, index: int, gate: Tensor | None, up: Tensor | None, down: Tensor
) -> dict[str, Tensor]:
    """A gated FFN under the parameter names of a layer, fused or apart as the model keeps it.

    Args:
        parent: the model whose names they are, the father.
        index: of its layer.
        gate: (width, hidden); None leaves gate and up out.
        up: (width, hidden); None leaves gate and up out.
        down: (hidden, width).

    Returns:
        Name -> tensor, in the shape of the parameter.
    """
    _, _, ffn = parent.ffn(index)
    prefix = f"{parent.anatomy.prefix}.{index}"
    out = {f"{prefix}.{ffn.down}.weight": down.T if ffn.transposed else down}
    if gate is None or up is None:
        return out
    if ffn.fused_gate_up:
        return {f"{prefix}.{ffn.up}.weight": torch.cat([gate, up]), **out}
    return {f"{prefix}.{ffn.gate}.weight": gate, f"{prefix}.{ffn.up}.weight": up, **out}


def neuron_orders(parent: LoadedModel, index: int, order: Tensor) -> dict[str, Tensor]:
    """One number per neuron, in shapes that broadcast along each of the layer's matrices.

    Args:
        parent: the model whose names they are, the father.
        index: of its layer.
        order: (width,).

    Returns:
        Name -> (width, 1) for gate and up, (1, width) for down.
    """
    row, column = order[:, None], order[None, :]
    return as_parameters(parent, index, row, row, column)


def fit_width(matrix: Tensor, width: int, dimension: int) -> Tensor:
    """Zero-pad or truncate the neuron dimension to ``width``; padding is exact, the added neurons do nothing.

    Args:
        matrix: one of an FFN's matrices.
        width: number of neurons it shall have.
        dimension: which dimension counts neurons: 0 of gate and up, 1 of down.

    Returns:
        The matrix with ``width`` neurons.
    """
    own = matrix.shape[dimension]
    if own >= width:
        return matrix.narrow(dimension, 0, width).contiguous()
    shape = list(matrix.shape)
    shape[dimension] = width - own
    return torch.cat([matrix, matrix.new_zeros(shape)], dim=dimension)


def fold_gain(ffn: GatedFFN, mother_gain: Tensor, father_gain: Tensor) -> GatedFFN:
    """Carry the mother's norm gain s_m into the columns of gate and up, and the father's s_f out of them.

    W' = W diag(s_m / s_f). Exact: mlp'(norm_f(h)) = mlp(norm_m(h)) for RMS norms of equal epsilon.

    Args:
        ffn: the mother's matrices.
        mother_gain: (hidden,) of the mother's norm before its FFN.
        father_gain: (hidden,) of the father's norm before its FFN.

    Returns:
        The matrices behind the father's norm.
    """
    gate, up, down = ffn
    scale = (mother_gain.to(gate.device) / clip_gain(father_gain.to(gate.device))).unsqueeze(0)  # (1, hidden)
    return gate * scale, up * scale, down


def fold_activation(ffn: GatedFFN, mother: str, father: str, gate_rms: float) -> GatedFFN:
    """Rescale gate by 1/c and up by c so that the father's activation imitates the mother's: act_m(t) ~ c act_f(t / c).

    c minimises the mean squared difference for t ~ N(0, gate_rms) over a grid; equal activations give c = 1.

    Args:
        ffn: the mother's matrices.
        mother: name of the mother's activation.
        father: name of the father's activation.
        gate_rms: rms of the gate's pre-activation in the mother.

    Returns:
        The matrices under the father's activation.
    """
    gate, up, down = ffn
    if mother == father:
        return ffn
    t = torch.linspace(-4, 4, 401) * max(gate_rms, 1e-3)
    weight = torch.exp(-0.5 * torch.linspace(-4, 4, 401) ** 2)
    target, act = activation_function(mother)(t), activation_function(father)
    scales = torch.linspace(0.5, 3.0, 251)
    errors = torch.stack([(weight * (target - c * act(t / c)) ** 2).sum() for c in scales])
    c = float(scales[errors.argmin()])
    return gate / c, up * c, down


def norm_gain(layer: nn.Module, name: str | None, width: int) -> Tensor:
    """The gain of a layer's norm.

    Args:
        layer: the decoder layer.
        name: of the norm in it; None where there is none.
        width: of the norm.

    Returns:
        (width,) fp32; ones where there is no norm.
    """
    if name is None:
        return torch.ones(width, device=next(layer.parameters()).device)
    return effective_gain(submodule(layer, name), width)[0]


def clip_gain(gain: Tensor) -> Tensor:
    """A gain that can be divided by: values near zero are moved away from it, keeping their sign."""
    floor = GAIN_FLOOR * gain.abs().mean()
    return torch.where(gain.abs() < floor, torch.where(gain < 0, -floor, floor), gain)


def rms(x: Tensor) -> Tensor:
    """Root mean square over the last dimension, which is kept."""
    return x.square().mean(-1, keepdim=True).sqrt()


def unit(x: Tensor) -> Tensor:
    """Scale x to an rms of 1: an RMS norm passes on nothing of its input's size."""
    return x / rms(x).clamp_min(1e-6)


def require_equal_hidden(arm: str, father: LoadedModel, mother: LoadedModel) -> None:
    """Refuse parents whose residual streams differ in width.

    Args:
        arm: name of the arm that needs it.
        father: the father.
        mother: the mother.

    Raises:
        InputError: the hidden sizes differ; says which arms take such a pair.
    """
    sizes = father.anatomy.hidden_size, mother.anatomy.hidden_size
    if sizes[0] != sizes[1]:
        raise InputError(
            f"arm {arm} needs equal hidden sizes, father has {sizes[0]} and mother {sizes[1]}:"
            " use aligned, transplant, refit or competence"
        )


def neurons(ffn: GatedFFN, activation: str, x: Tensor) -> Tensor:
    """What the down projection is given: a = act(gate x) * (up x).

    Args:
        ffn: the matrices.
        activation: its name.
        x: FFN inputs (..., hidden).

    Returns:
        (..., width).
    """
    gate, up, _ = ffn
    return activation_function(activation)(x @ gate.T) * (x @ up.T)
