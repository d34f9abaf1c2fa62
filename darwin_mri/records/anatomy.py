"""The parts of a decoder: where each layer keeps its mixer, its FFN or experts, and the norms around them."""

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


class MoeAnatomy(Part):
    """One layer's mixture of experts. Names are relative to the layer (``mlp.experts``).

    Attributes:
        module: the block that holds experts and router; empty where the layer itself does.
        experts: the experts' module.
        router: the module that chooses experts.
        shared: modules that every token passes beside the experts: shared experts, their gate, a dense FFN.
        count: number of experts.
        per_token: how many of them a token passes; None where the configuration does not say.
        increments: modules whose outputs add up to what the FFN's place adds to the stream; none where it is not known.
    """

    module: str
    experts: str
    router: str
    shared: tuple[str, ...] = ()
    count: int
    per_token: int | None = None
    increments: tuple[str, ...] = ()

    def component(self, name: str) -> str | None:
        """``experts``, ``shared`` or ``router`` for a tensor of the layer; None for one outside the mixture."""
        if _within(name, self.experts):
            return "experts"
        if any(_within(name, module) for module in self.shared):
            return "shared"
        # A block may keep tensors of the router beside it, as biases of the choice.
        return "router" if _within(name, self.router) or (self.module and _within(name, self.module)) else None


class LayerAnatomy(Part):
    """One decoder layer. Names are relative to the layer.

    Attributes:
        index: number of the layer.
        mixer: "full_attention", "sliding_attention", "linear_attention" or "other".
        mixer_module: name of the mixer's module; None where none was recognised.
        ffn: the FFN; None where there is no plain one.
        moe: the mixture of experts; None where there is none, or none whose parts are told apart.
        pre_norm: name of the norm before the FFN or the mixture; None where there is none.
        post_norm: name of the norm after it; None where there is none.
        mixer_post_norm: name of the norm after the mixer; None where there is none.
        note: why there is no plain FFN.
    """

    index: int
    mixer: str
    mixer_module: str | None
    ffn: FfnAnatomy | None
    moe: MoeAnatomy | None = None
    pre_norm: str | None
    post_norm: str | None
    mixer_post_norm: str | None = None
    note: str = ""

    def component(self, name: str) -> str:
        """The part of the layer that a tensor belongs to, by its name in the layer.

        Returns:
            ``ffn``, ``experts``, ``router``, ``shared``, or ``mixer`` for all the rest, norms among it.
        """
        if self.ffn is not None and _within(name, self.ffn.module):
            return "ffn"
        return (self.moe and self.moe.component(name)) or "mixer"


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


def _within(name: str, module: str) -> bool:
    return name.startswith(f"{module}.")
