"""The parts of a decoder: where each layer keeps its mixer, its FFN and the FFN's norms."""

from __future__ import annotations

from darwin_mri.records.base import Part, Record


class FfnAnatomy(Part):
    """One layer's feed-forward network. Names are relative to the layer (``mlp.gate_proj``).

    ``gate`` is absent in an ungated FFN. With ``fused_gate_up`` the gate is the first half of the rows of ``up``.
    """

    module: str
    gate: str | None
    up: str
    down: str
    fused_gate_up: bool = False
    transposed: bool = False  # GPT-2's Conv1D keeps (in, out)
    activation: str
    width: int
    validation_error: float  # relative error of the FFN re-computed from its matrices


class LayerAnatomy(Part):
    """One decoder layer; ``ffn`` is None where there is no plain FFN, with the reason in ``note``."""

    index: int
    mixer: str  # "full_attention", "sliding_attention", "linear_attention", "other"
    mixer_module: str | None
    ffn: FfnAnatomy | None
    pre_norm: str | None
    post_norm: str | None
    mixer_post_norm: str | None = None
    note: str = ""


class Anatomy(Record):
    """A decoder as found by data flow. ``prefix`` is the module path of the layer list inside the model.

    ``residual_multiplier`` scales what mixer and FFN add to the stream (Granite); 1 elsewhere.
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
