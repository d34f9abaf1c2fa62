"""The configuration of a stack: every field that speaks of layers by their number, made for the new order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.errors import InputError
from darwin_mri.merging.stacks.ranges import Layer

# Lists with one value per layer.
PER_LAYER = (
    "layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers", "*_per_layer", "attention_layers",
    "activation_sparsity_pattern", "intermediate_size", "num_attention_heads", "num_key_value_heads",
    "layer_rope_theta", "ffn_multipliers", "num_query_heads", "num_kv_heads", "prefix_dense_sliding_window_pattern",
)  # fmt: skip
# Lists of the layers that have something.
NUMBERS = (
    "mlp_only_layers", "moe_layers", "attn_layer_indices", "hybrid_layer_ids", "ple_layer_ids", "local_layer_ids",
    "cross_attention_layers",
)  # fmt: skip
# Numbers of layers, from the first on, that are of another kind.
LEADING = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
SHARED = "num_kv_shared_layers"  # the last layers, which attend to keys and values of earlier ones
PERIOD = "decoder_sparse_step"  # a layer has experts where its number + 1 is a multiple
PREDICTING = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")  # layers that no loader reads
DEPTH = "num_hidden_layers"
WINDOWS = "max_window_layers"
PARTS = "per_layer_config"  # layer -> fields that are different there
BLOCKS = "block_types"  # repeated over the layers


def stack_config(layers: Sequence[Layer]) -> dict[str, Any]:
    """config.json of a stack: the first layer's model's, with the fields that speak of layers made anew.

    Args:
        layers: of the stack.

    Returns:
        The fields.

    Raises:
        InputError: a field cannot say what the new order needs.
    """
    first = layers[0].model
    config = copy.deepcopy(first.config)
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    new = _new_fields(layers) | {name: 0 for name in PREDICTING if layers[0].fields.get(name)}
    for name, value in new.items():
        text[name] = value
        if name in config:
            config[name] = value
    return config


def layered_fields(layer: Layer) -> set[str]:
    """Names of fields of a layer's model's text configuration that speak of layers by their number."""
    single = {depth_field(layer.model), SHARED, PERIOD, WINDOWS, PARTS, BLOCKS, *LEADING, *PREDICTING, *NUMBERS}
    return single | {name for name, value in layer.fields.items() if _per_layer(name, value, layer)}


def depth_field(model: Survey) -> str:
    """What the family calls its number of layers."""
    return str(type(model.text_config).attribute_map.get(DEPTH, DEPTH))


def sharing_modes(config: Any) -> list[str | None] | None:
    """Per layer ``store`` or ``reuse`` where layers share keys and values; None where none does."""
    if not getattr(config, SHARED, 0):
        return None
    return list(config.kv_sharing_modes)


def _new_fields(layers: Sequence[Layer]) -> dict[str, Any]:
    first = layers[0]
    new: dict[str, Any] = {depth_field(first.model): len(layers)}
    for name, value in first.fields.items():
        if _per_layer(name, value, first):
            new[name] = [_value(layer, name) for layer in layers]
        elif name in NUMBERS and isinstance(value, (list, tuple)):
            new[name] = [at for at, layer in enumerate(layers) if layer.index in (layer.fields.get(name) or ())]
        elif name in LEADING and isinstance(value, int):
            new[name] = _leading([layer.index < int(layer.fields.get(name) or 0) for layer in layers], name)
    if first.fields.get(PERIOD) and "mlp_only_layers" in first.fields:
        new |= {PERIOD: 1, "mlp_only_layers": [at for at, layer in enumerate(layers) if _is_dense(layer)]}
    if first.fields.get(WINDOWS) == _depth(first):
        new[WINDOWS] = len(layers)
    if first.fields.get(BLOCKS):
        new[BLOCKS] = [layer.fields[BLOCKS][layer.index % len(layer.fields[BLOCKS])] for layer in layers]
    if first.fields.get(SHARED):
        own = [_modes(layer)[layer.index] != "reuse" for layer in layers]
        new[SHARED] = len(layers) - _leading(own, SHARED)
    parts = [_part(layer) for layer in layers]
    if any(_parts(layer) for layer in layers):
        new[PARTS] = {str(at): part for at, part in enumerate(parts) if part}
    return new


def _parts(layer: Layer) -> dict[str, Any]:
    return {str(at): fields for at, fields in (layer.fields.get(PARTS) or {}).items()}


def _part(layer: Layer) -> dict[str, Any]:
    """Fields that only this layer has."""
    return _parts(layer).get(str(layer.index), {})


def _leading(flags: list[bool], name: str) -> int:
    """How many flags are set, all of them first; raises InputError where the others come between."""
    count = sum(flags)
    if flags != [True] * count + [False] * (len(flags) - count):
        at = flags.index(False)
        wrong = at + flags[at:].index(True)
        why = (
            f"layer {at} shares keys and values, so layer {wrong} after it must too"
            if name == SHARED
            else f"{name} counts layers from the first on, and layer {wrong} would be one of them after layer {at}"
        )
        raise InputError(f"the stack cannot be: {why}: change the order of its ranges")
    return count


def _modes(layer: Layer) -> list[str | None]:
    return sharing_modes(layer.model.text_config) or [None] * _depth(layer)


def _is_dense(layer: Layer) -> bool:
    return layer.index in (layer.fields["mlp_only_layers"] or ()) or (layer.index + 1) % layer.fields[PERIOD] != 0


def _value(layer: Layer, name: str) -> Any:
    values = layer.fields.get(name)
    if not isinstance(values, (list, tuple)) or len(values) != _depth(layer):
        raise InputError(
            f"the stack cannot be: {layer.ref} has no {name} for each of its layers, as the first model has"
        )
    return values[layer.index]


def _per_layer(name: str, value: Any, layer: Layer) -> bool:
    matches = any(fnmatchcase(name, pattern) for pattern in PER_LAYER)
    return matches and isinstance(value, (list, tuple)) and len(value) == _depth(layer)


def _depth(layer: Layer) -> int:
    return len(layer.model.anatomy.layers)
