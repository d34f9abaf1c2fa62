"""Cross-architecture arms: a donor FFN for each father layer, built from the mother's, in the father's shape.

The child is father + r (donor - father) for the FFN matrices; attention, norms, embeddings and config stay the father's.

* ``raw``: the seed's way; the mother's matrices, zero-padded or truncated to the father's width.
* ``folded``: first carries the mother's norm gain into the columns of gate and up (divided by the father's), and rescales the
  gate for the father's activation, act_m(t) ~ c act_f(t / c) with c fitted to the measured spread of t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from darwin_mri.checkpoints import activation_function, effective_gain, ffn_matrices, layer_modules, submodule
from darwin_mri.errors import InputError
from darwin_mri.merging.merge import Donors
from darwin_mri.records import Anatomy, FfnAnatomy, LayerAnatomy

GAIN_FLOOR = (
    0.05  # a father gain nearer to zero than this share of the mean would blow up the folded column: it is clipped
)


def build_donors(
    arm: str,
    father: Any,
    father_anatomy: Anatomy,
    mother: Any,
    mother_anatomy: Anatomy,
    layer_map: Sequence[int],
    gate_rms: Sequence[float],
) -> Donors:
    """Donor tensors under the father's parameter names.

    Args:
        layer_map: mother layer of each father layer.
        gate_rms: per mother layer the measured rms of the gate's pre-activation (only ``folded`` uses it).

    Raises:
        InputError: the pair cannot be crossed by this arm; says why.
    """  # fmt: skip
    if father_anatomy.hidden_size != mother_anatomy.hidden_size:
        raise InputError(
            f"arm {arm} needs equal hidden sizes, father has {father_anatomy.hidden_size} and mother {mother_anatomy.hidden_size}: "
            "choose parents of one hidden size"
        )
    father_layers, mother_layers = layer_modules(father, father_anatomy), layer_modules(mother, mother_anatomy)
    tensors: dict[str, torch.Tensor] = {}
    for info in father_anatomy.layers:
        source = mother_anatomy.layers[layer_map[info.index]]
        if info.ffn is None or source.ffn is None:
            continue
        ffn = _plain_gated(info, "father")
        _plain_gated(source, "mother")
        gate, up, down = ffn_matrices(mother_layers[source.index], source.ffn)
        assert gate is not None
        if arm == "folded":
            gate, up = (
                w * _gain_ratio(father_layers[info.index], info, mother_layers[source.index], source)
                for w in (gate, up)
            )
            gate, up = fold_activation(gate, up, source.ffn.activation, ffn.activation, gate_rms[source.index])
        place = f"{father_anatomy.prefix}.{info.index}"
        tensors[f"{place}.{ffn.gate}.weight"] = fit_width(gate, ffn.width, 0)
        tensors[f"{place}.{ffn.up}.weight"] = fit_width(up, ffn.width, 0)
        tensors[f"{place}.{ffn.down}.weight"] = fit_width(down, ffn.width, 1)
    return Donors(tensors)


def _plain_gated(info: LayerAnatomy, who: str) -> FfnAnatomy:
    ffn = info.ffn
    if ffn is None or ffn.gate is None or ffn.fused_gate_up or ffn.transposed:
        raise InputError(
            f"{who} layer {info.index} has no FFN with separate gate, up and down matrices: it cannot be crossed"
        )
    return ffn


def _gain_ratio(father: Any, father_info: LayerAnatomy, mother: Any, mother_info: LayerAnatomy) -> torch.Tensor:
    """Mother's norm gain over the father's, per input column; 1 where a side has no norm before its FFN."""
    gains = []
    for layer, info in ((mother, mother_info), (father, father_info)):
        width = next(layer.parameters()).shape[-1] if info.pre_norm is None else None
        if info.pre_norm is None:
            gains.append(torch.ones(width or 1))
            continue
        norm = submodule(layer, info.pre_norm)
        gains.append(effective_gain(norm, next(norm.parameters()).numel())[0])
    mother_gain, father_gain = gains
    floor = GAIN_FLOOR * father_gain.abs().mean()
    safe = torch.where(father_gain.abs() < floor, torch.where(father_gain < 0, -floor, floor), father_gain)
    return (mother_gain / safe).unsqueeze(0)


def fold_activation(
    gate: torch.Tensor, up: torch.Tensor, mother_activation: str, father_activation: str, gate_rms: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rescale gate by 1/c and up by c so that the father's activation imitates the mother's: act_m(t) ~ c act_f(t / c).

    c minimises the mean squared difference for t ~ N(0, gate_rms) over a grid; equal activations give c = 1.
    """
    if mother_activation == father_activation:
        return gate, up
    t = torch.linspace(-4, 4, 401) * max(gate_rms, 1e-3)
    weight = torch.exp(-0.5 * torch.linspace(-4, 4, 401) ** 2)
    wanted, act = activation_function(mother_activation)(t), activation_function(father_activation)
    scales = torch.linspace(0.5, 3.0, 251)
    errors = torch.stack([(weight * (wanted - c * act(t / c)) ** 2).sum() for c in scales])
    c = float(scales[errors.argmin()])
    return gate / c, up * c


def fit_width(matrix: torch.Tensor, width: int, dimension: int) -> torch.Tensor:
    """Zero-pad or truncate the neuron dimension to ``width``; padding is exact, the added neurons do nothing."""
    have = matrix.shape[dimension]
    if have >= width:
        return matrix.narrow(dimension, 0, width).contiguous()
    shape = list(matrix.shape)
    shape[dimension] = width - have
    return torch.cat([matrix, matrix.new_zeros(shape)], dim=dimension)
