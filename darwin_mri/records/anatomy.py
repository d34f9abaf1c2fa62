"""The parts of a decoder: where each layer keeps its mixer, its FFN and the FFN's norms."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class FfnAnatomy(Part):
    """One layer's feed-forward network. Names are relative to the layer (``mlp.gate_proj``).

    Attributes:
        module: name of the FFN's module.
        gate: name of the gate's matrix; None in an ungated FFN, and where gate and up are one matrix.
        up: name of the up matrix.
        down: name of the down matrix.
        fused_gate_up: whether the gate is the first half of the rows of ``up``.
        transposed: whether matrices are kept as (in, out), as GPT-2's Conv1D does.
        activation: name of the activation function.
        width: number of neurons.
        validation_error: relative error of the FFN re-computed from its matrices.
    """

    module: str
    gate: str | None
    up: str
    down: str
    fused_gate_up: bool = False
    transposed: bool = False
    activation: str
    width: int
    validation_error: float


class LayerAnatomy(Part):
    """One decoder layer. Names are relative to the layer.

    Attributes:
        index: number of the layer.
        mixer: "full_attention", "sliding_attention", "linear_attention" or "other".
        mixer_module: name of the mixer's module; None where none was recognised.
        ffn: the FFN; None where there is no plain one.
        pre_norm: name of the norm before the FFN; None where there is none.
        post_norm: name of the norm after the FFN; None where there is none.
        mixer_post_norm: name of the norm after the mixer; None where there is none.
        note: why there is no plain FFN.
    """

    index: int
    mixer: str
    mixer_module: str | None
    ffn: FfnAnatomy | None
    pre_norm: str | None
    post_norm: str | None
    mixer_post_norm: str | None = None
    note: str = ""


class Anatomy(Record):
    """A decoder, its parts recognised by data flow.

    Attributes:
        family: the configuration's model type.
        prefix: module path of the layer list inside the model.
        hidden_size: width of the residual stream.
        layers: in order.
        residual_multiplier: scales what mixer and FFN add to the residual stream (Granite); 1 elsewhere.
    """

    family: str
    prefix: str
    hidden_size: int
    layers: tuple[LayerAnatomy, ...]
    residual_multiplier: float = 1.0

    @property
    def ffn_size(self) -> int:
        """Width of the widest FFN, 0 where no layer has one."""
        return max((layer.ffn.width for layer in self.layers if layer.ffn), default=0)
