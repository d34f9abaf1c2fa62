"""Whether each layer of a stack computes what it computed where it comes from: asked of transformers' own modules.

A family may decide by a layer's number what it is: windows, rotary positions, experts, shared keys. Modules without
values tell what a number meant, so no family has to be known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from darwin_mri.checkpoints.anatomy import layer_modules
from darwin_mri.checkpoints.meta import loading_class, meta_model
from darwin_mri.checkpoints.survey import Survey
from darwin_mri.errors import InputError
from darwin_mri.merging.stacks.config import sharing_modes
from darwin_mri.merging.stacks.ranges import Layer

# What a layer knows of its own place, which changes; who shares keys and values is compared by itself.
PLACES = (
    "layer_idx", "layer_id", "layer_index", "layer_number", "layer_num", "block_idx", "kv_shared_layer_index",
    "store_full_length_kv",
)  # fmt: skip
BY_NUMBER = ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn")  # computed from the number in the forward
TYPES = "layer_types"
UNEXPRESSED = {"minimax": "the decay of its attention depends on a layer's number"}


def refuse_changed_layers(layers: Sequence[Layer], config: Any, ref: str) -> None:
    """Raise InputError, with the reason, unless every layer of a stack is of the kind it was.

    Args:
        layers: of the stack.
        config: transformers' configuration of the stack.
        ref: what an error calls it.
    """
    moved = next((layer for at, layer in enumerate(layers) if layer.index != at), None)
    _refuse_numbered(layers[0].model, moved)
    _refuse_other_types(layers, config.get_text_config())
    new_model = meta_model(loading_class(config, ref), config, ref)
    modules = list(new_model.get_submodule(layers[0].model.anatomy.prefix))
    old: dict[int, list[nn.Module]] = {}
    for at, layer in enumerate(layers):
        if id(layer.model) not in old:
            known = layer.model.known_config
            old[id(layer.model)] = layer_modules(
                meta_model(loading_class(known, layer.ref), known, layer.ref), layer.model.anatomy
            )
        fault = _fault(old[id(layer.model)][layer.index], modules[at])
        if fault:
            raise InputError(f"the stack cannot be: layer {at}, which is layer {layer.index} of {layer.ref}, {fault}")
    _refuse_other_sharing(layers, config.get_text_config())


def _refuse_numbered(first: Survey, moved: Layer | None) -> None:
    if moved is None:
        return
    for name in BY_NUMBER:
        if getattr(first.text_config, name, False):
            raise InputError(f"the stack cannot be: config.json has {name}, so a layer depends on its number")
    if reason := UNEXPRESSED.get(first.family.removesuffix("_text")):
        raise InputError(f"the stack cannot be: {first.family}: {reason}")
    tied = sorted(name for name in first.layout.tied if name.startswith(f"{first.anatomy.prefix}."))
    if tied:
        raise InputError(f"the stack cannot be: layers of {first.family} share weights (first: {tied[0]})")


def _refuse_other_types(layers: Sequence[Layer], config: Any) -> None:
    """Some families force the kind of a layer: in Gemma 4 the last one attends to everything."""
    for at, (layer, kind) in enumerate(zip(layers, getattr(config, TYPES, None) or (), strict=False)):
        own = list(getattr(layer.model.text_config, TYPES))[layer.index]
        if kind != own:
            raise InputError(
                f"the stack cannot be: layer {at}, which is layer {layer.index} of {layer.ref}, is {own}, but would be"
                f" {kind}: {config.model_type} decides that by its number"
            )


def _fault(old: nn.Module, new: nn.Module) -> str | None:
    """In what a layer would differ from what it was, in the words after its name; None where in nothing."""
    before, after = dict(old.named_modules()), dict(new.named_modules())
    for name in sorted(before.keys() ^ after.keys()):
        return f"would {'lose' if name in before else 'gain'} {name}: config.json cannot say so for a single layer"
    for name, module in before.items():
        own, theirs = _facts(module), _facts(after[name])
        for fact in sorted(own.keys() | theirs.keys()):
            if own.get(fact) != theirs.get(fact):
                where = f"{name}.{fact}" if name else fact
                return (
                    f"would have {where} {_shown(theirs.get(fact))} where it has {_shown(own.get(fact))}: config.json"
                    " cannot say so for a single layer"
                )
    return None


def _facts(module: nn.Module) -> dict[str, Any]:
    """A module's kind, the shapes of its tensors, and its plain attributes."""
    facts: dict[str, Any] = {"class": type(module).__name__}
    facts |= {name: tuple(value.shape) for name, value in module.named_parameters(recurse=False)}
    facts |= {name: tuple(value.shape) for name, value in module.named_buffers(recurse=False)}
    for name, value in vars(module).items():
        plain = isinstance(value, (bool, int, float, str, tuple)) or value is None
        if plain and not name.startswith("_") and name not in PLACES:
            facts[name] = value
    return facts


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _refuse_other_sharing(layers: Sequence[Layer], config: Any) -> None:
    """A layer that shares must attend to the keys and values of the layer that it attended to before."""
    new = _origins(sharing_modes(config), config)
    old: Mapping[int, dict[int, int]] = {
        id(layer.model): _origins(sharing_modes(layer.model.text_config), layer.model.text_config) for layer in layers
    }
    for at, origin in new.items():
        layer, source = layers[at], layers[origin]
        expected = old[id(layer.model)].get(layer.index)
        if source.model is not layer.model or source.index != expected:
            raise InputError(
                f"the stack cannot be: layer {at} shares keys and values with layer {expected} of {layer.ref}, but"
                f" would get those of layer {source.index} of {source.ref}: keep that layer as the last of its kind"
                " before the layers that share"
            )


def _origins(modes: list[str | None] | None, config: Any) -> dict[int, int]:
    """Layer that reuses keys and values -> the one that stores them."""
    if modes is None:
        return {}
    stored = {config.layer_types[at]: at for at, mode in enumerate(modes) if mode == "store"}
    return {at: stored[config.layer_types[at]] for at, mode in enumerate(modes) if mode == "reuse"}
