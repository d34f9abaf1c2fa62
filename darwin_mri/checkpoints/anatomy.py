"""Find the parts of a decoder in the data flow of one tiny forward; a table of families would soon be out of date."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from darwin_mri.checkpoints.ffn import activation_names, recompute_ffn, submodule
from darwin_mri.checkpoints.libraries import first_line, quiet
from darwin_mri.checkpoints.moe import find_moe
from darwin_mri.checkpoints.names import (
    ATTENTION_NAMES,
    FFN_CLASS_WORDS,
    FFN_NAMES,
    MIXER_NAMES,
    MOE_NAMES,
    ffn_layout,
)
from darwin_mri.errors import CheckpointError
from darwin_mri.records import Anatomy, FfnAnatomy, LayerAnatomy, MoeAnatomy

PROBE_TOKENS = 8
TOLERANCE = 1e-3
MIXERS = ("full_attention", "sliding_attention", "linear_attention")
NO_FFN = "no FFN here"


class Passage(NamedTuple):
    """What went through a module in the probe forward. Kept alive until compared, so that no storage is re-used.

    Attributes:
        given: the module's input, (1, tokens, width).
        returned: its output.
        output: a copy of the output: Falcon adds the attention's output to the FFN's in place.
    """

    given: torch.Tensor | None
    returned: torch.Tensor | None
    output: torch.Tensor | None


Passages = dict[nn.Module, Passage]


def find_anatomy(model: Any) -> Anatomy:
    """Find each layer's mixer, FFN and the FFN's norms by data flow in one tiny forward.

    The pre-norm is the layer's child whose output storage is the FFN's input; the post-norm the one whose input storage
    is the FFN's output. An FFN is believed only when re-computing it from its matrices gives the module's own output.

    Args:
        model: a causal language model or a wrapper around one, loaded and on its device.

    Returns:
        The anatomy. ``family`` is the text configuration's model type; layers without a plain FFN say why in ``note``.

    Raises:
        CheckpointError: not a decoder, its layer list cannot be found, or the probe forward fails.
    """
    config = model.config.get_text_config()
    decoder, prefix = _decoder_and_prefix(model, config)
    return _anatomy(model, prefix, _probe(decoder, list(model.get_submodule(prefix)), config))


def outline_anatomy(model: Any) -> Anatomy:
    """As ``find_anatomy`` of a model without values: no forward, so norms are left open and no FFN is re-computed.

    Args:
        model: on the meta device.

    Returns:
        The anatomy.

    Raises:
        CheckpointError: not a decoder, or its layer list cannot be found.
    """
    return _anatomy(model, _decoder_and_prefix(model, model.config.get_text_config())[1], None)


def _anatomy(model: Any, prefix: str, passages: Passages | None) -> Anatomy:
    config = model.config.get_text_config()
    layers = enumerate(model.get_submodule(prefix))
    parts = [_layer_anatomy(index, layer, config, passages) for index, layer in layers]
    return Anatomy(
        family=config.model_type,
        prefix=prefix,
        hidden_size=config.hidden_size,
        layers=tuple(parts),
        residual_multiplier=float(getattr(config, "residual_multiplier", None) or 1.0),
    )


def require_ffn(anatomy: Anatomy, ref: str, *, or_experts: bool = False) -> None:
    """Refuse a model that has a plain FFN in no layer.

    Args:
        anatomy: of the model.
        ref: what the message calls it.
        or_experts: take a mixture of experts for an FFN.

    Raises:
        CheckpointError: says why the first layer has none.
    """
    if not any(layer.ffn or (or_experts and layer.moe) for layer in anatomy.layers):
        note = anatomy.layers[0].note if anatomy.layers else NO_FFN
        raise CheckpointError(f"{ref} ({anatomy.family}) has no plain FFN in any layer ({note}): not usable here")


def layer_modules(model: Any, anatomy: Anatomy) -> list[nn.Module]:
    """The decoder layers of a model, first to last."""
    return list(model.get_submodule(anatomy.prefix))


def decoder_of(model: Any) -> Any:
    """The text decoder of a causal language model: embeddings, layers and final norm, without the output head.

    It is ``model.get_decoder()``, but for models whose declared base is not their own attribute: of Llama 4's text
    model that gives the model with its head.

    Args:
        model: transformers' model, or a wrapper of one.
    """
    decoder = model.get_decoder()
    return decoder.model if decoder.get_output_embeddings() is not None else decoder


def _decoder_and_prefix(model: Any, config: Any) -> tuple[nn.Module, str]:
    """The text decoder and the path of its layer list inside the model.

    Only the decoder is searched: a vision tower may have as many layers.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise CheckpointError(f"{config.model_type} is an encoder-decoder: only decoders can be scanned")
    decoder = decoder_of(model)
    lists = [module for module in decoder.modules() if isinstance(module, nn.ModuleList)]
    lists = [module for module in lists if len(module) == config.num_hidden_layers]
    if not lists:
        where = type(decoder).__name__
        raise CheckpointError(f"{config.model_type}: no list of {config.num_hidden_layers} layers in {where}")
    # Some families keep other lists of one small part per layer; the decoder's own holds the most weights.
    chosen = max(lists, key=lambda module: sum(parameter.numel() for parameter in module.parameters()))
    return decoder, next(name for name, module in model.named_modules() if module is chosen)


def _probe(decoder: nn.Module, layers: list[nn.Module], config: Any) -> Passages:
    """Run a few tokens through the decoder and record what passed through each direct child of each layer."""
    passages: Passages = {}

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
        returned = _tensor(output)
        passages[module] = Passage(_tensor(given), returned, None if returned is None else returned.clone())

    children = [child for layer in layers for child in layer.children()]
    handles = [child.register_forward_hook(record, with_kwargs=True) for child in children]
    was_training = decoder.training
    decoder.eval()
    device = next(decoder.parameters()).device
    tokens = (torch.arange(PROBE_TOKENS, device=device)[None] * 7 + 3) % config.vocab_size
    try:
        with torch.no_grad(), quiet():
            decoder(input_ids=tokens, use_cache=False)
    except Exception as error:  # whatever a family's forward raises, it means that the model cannot be run here
        raise CheckpointError(f"{config.model_type} fails on {PROBE_TOKENS} tokens: {first_line(error)}") from error
    finally:
        decoder.train(was_training)
        for handle in handles:
            handle.remove()
    return passages


def _layer_anatomy(index: int, layer: nn.Module, config: Any, passages: Passages | None) -> LayerAnatomy:
    moe = find_moe(layer, config)
    mixer, mixer_module = _find_mixer(index, layer, config, moe)
    name, note = (None, f"mixture of experts ({moe.experts})") if moe else _ffn_child(layer)
    ffn, pre_norm, post_norm, mixer_post_norm = None, None, None, None
    if name is not None:
        ffn, note = _ffn_anatomy(layer, name, config, passages)
    if ffn is not None and passages is not None:
        pre_norm, post_norm = _find_norms(layer, ffn.module, passages)
    if moe is not None:
        moe, pre_norm, post_norm = _moe_increments(layer, moe, passages)
    if mixer_module is not None and passages is not None and submodule(layer, mixer_module) in passages:
        # In a block with parallel branches the FFN itself takes the mixer's output; that is no norm.
        follower = _find_norms(layer, mixer_module, passages)[1]
        mixer_post_norm = None if follower == name else follower
    return LayerAnatomy(
        index=index,
        mixer=mixer,
        mixer_module=mixer_module,
        ffn=ffn,
        moe=moe,
        pre_norm=pre_norm,
        post_norm=post_norm,
        mixer_post_norm=mixer_post_norm,
        note=note,
    )


def _find_mixer(index: int, layer: nn.Module, config: Any, moe: MoeAnatomy | None) -> tuple[str, str | None]:
    """Kind and name of a layer's mixer: the configuration's word where it has one, else what the attribute says."""
    children = dict(layer.named_children())
    names = [name for name in MIXER_NAMES if name in children and not _is_ffn_class(children[name])]
    names = [name for name in names if moe is None or name != moe.module]
    # Two mixers side by side (Falcon-H1) are none that could be named or ablated.
    name = names[0] if len(names) == 1 else None
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return (kinds[index] if kinds[index] in MIXERS else "other"), name
    if name == "linear_attn":
        return "linear_attention", name
    if name not in ATTENTION_NAMES:
        return "other", name
    return ("sliding_attention" if getattr(children[name], "sliding_window", None) else "full_attention"), name


def _ffn_child(layer: nn.Module) -> tuple[str | None, str]:
    """Name of the layer's FFN child, or None with the reason."""
    children = dict(layer.named_children())
    experts = [name for name in MOE_NAMES if name in children and any(True for _ in children[name].parameters())]
    if experts:
        return None, f"mixture of experts ({experts[0]})"
    for name in FFN_NAMES:
        if name in children:
            inner = [part for part in MOE_NAMES if hasattr(children[name], part)]
            return (None, f"mixture of experts ({name}.{inner[0]})") if inner else (name, "")
    if "mixer" in children and _is_ffn_class(children["mixer"]):
        return "mixer", ""
    if ffn_layout(layer) is not None:
        return None, "FFN without a module of its own"
    return None, NO_FFN


def _is_ffn_class(module: nn.Module) -> bool:
    return any(word in type(module).__name__ for word in FFN_CLASS_WORDS)


def _ffn_anatomy(layer: nn.Module, name: str, config: Any, passages: Passages | None) -> tuple[FfnAnatomy | None, str]:
    """The FFN's parts, validated on what passed through it; None with the reason where it is no plain FFN."""
    module = submodule(layer, name)
    layout = ffn_layout(module)
    if layout is None:
        return None, f"{name} ({type(module).__name__}) has no projections of a known layout"
    activations = activation_names(module, config)
    if not activations:
        return None, f"{name} has an activation without a name"
    down = submodule(module, layout.down)
    transposed = isinstance(down, Conv1D)
    weight = down.weight
    assert isinstance(weight, torch.Tensor)
    ffn = FfnAnatomy(
        module=name,
        gate=None if layout.gate is None else f"{name}.{layout.gate}",
        up=f"{name}.{layout.up}",
        down=f"{name}.{layout.down}",
        fused_gate_up=layout.fused,
        transposed=transposed,
        activation=activations[0],
        width=weight.shape[0 if transposed else 1],
        validation_error=0.0,
    )
    if passages is None:
        return ffn, ""
    passage = passages.get(module)
    if passage is None or passage.given is None or passage.output is None:
        return None, f"{name} took no part in the probe forward"
    tried = [ffn.model_copy(update={"activation": activation}) for activation in activations]
    errors = [_validation_error(layer, one, passage.given, passage.output) for one in tried]
    error = min(errors)
    if not error <= max(TOLERANCE, torch.finfo(passage.given.dtype).eps):
        return None, f"{name} is no plain FFN: re-computed from its matrices it is off by {error:.2g} of its output"
    return tried[errors.index(error)].model_copy(update={"validation_error": error}), ""


@torch.no_grad()
def _validation_error(layer: nn.Module, ffn: FfnAnatomy, given: torch.Tensor, returned: torch.Tensor) -> float:
    """Relative error of the re-computed FFN, infinity where the shapes do not even fit."""
    try:
        again = recompute_ffn(layer, ffn, given)
    except RuntimeError:
        return math.inf
    if again.shape != returned.shape:
        return math.inf
    scale = returned.float().norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float((again.float() - returned.float()).norm() / scale)


def _moe_increments(
    layer: nn.Module, moe: MoeAnatomy, passages: Passages | None
) -> tuple[MoeAnatomy, str | None, str | None]:
    """The mixture with the modules whose outputs add up to its increment, and the norms before and after it."""
    branches = tuple(name for name in (moe.module or moe.experts, *moe.shared) if "." not in name)
    if passages is None or any(submodule(layer, name) not in passages for name in branches):
        return moe.model_copy(update={"increments": branches if moe.module else ()}), None, None
    norms = [_find_norms(layer, name, passages) for name in branches]
    before = {name for name, _ in norms}
    pre_norm = before.pop() if len(before) == 1 else None
    ends = tuple(after or name for name, (_, after) in zip(branches, norms, strict=True))
    if len(branches) == 1:
        return moe.model_copy(update={"increments": ends}), pre_norm, norms[0][1]
    total = _taker_of_sum(layer, ends, passages)
    if total is not None:
        return moe.model_copy(update={"increments": (total,)}), pre_norm, total
    return moe.model_copy(update={"increments": ends if moe.module else ()}), pre_norm, None


def _taker_of_sum(layer: nn.Module, names: tuple[str, ...], passages: Passages) -> str | None:
    """Name of the child that is given the sum of what some children return; None where none is."""
    outputs = [passages[submodule(layer, name)].output for name in names]
    shape = next((output.shape for output in outputs if output is not None), None)
    parts = [output.view(shape) for output in outputs if output is not None and shape is not None]
    for name, child in layer.named_children():
        given = passages[child].given if child in passages else None
        if given is None or len(parts) != len(names) or given.shape != shape:
            continue
        if torch.allclose(given.float(), torch.stack(parts).float().sum(0), rtol=TOLERANCE, atol=TOLERANCE):
            return name
    return None


def _find_norms(layer: nn.Module, ffn: str, passages: Passages) -> tuple[str | None, str | None]:
    """Names of the children that hand the FFN its input and take its output, None where nothing stands there."""
    through = passages[submodule(layer, ffn)]
    pre_norm, post_norm = None, None
    for name, child in layer.named_children():
        passage = passages.get(child)
        if name == ffn or passage is None or isinstance(child, (nn.Dropout, nn.Identity)):
            continue
        if _same_storage(passage.returned, through.given):
            pre_norm = name
        if _same_storage(passage.given, through.returned):
            post_norm = name
    return pre_norm, post_norm


def _same_storage(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _tensor(value: Any) -> torch.Tensor | None:
    """The tensor itself, or the first of a tuple."""
    first = value[0] if isinstance(value, (tuple, list)) and value else value
    return first if isinstance(first, torch.Tensor) else None
