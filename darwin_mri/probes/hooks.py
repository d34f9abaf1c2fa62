"""Hooks that stream what each layer does, or replace what it adds by its mean; nothing is kept beyond the hook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints import layer_modules, submodule
from darwin_mri.records import Anatomy, LayerAnatomy

Observer = Callable[[int, str, torch.Tensor], None]
"""Called with (layer index, site, tensor of shape (rows, length, width)). Sites, in the order of one layer's forward:
``h_in``, ``m`` (mixer's increment), ``x`` (FFN input), ``gate`` (pre-activation), ``a`` (neurons), ``f`` (FFN's increment),
``h_out``; where mixer and FFN run side by side, ``m`` may come last but one."""


def _first(value: Any) -> torch.Tensor:
    return value[0] if isinstance(value, tuple) else value


def _layer_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


def increment_module(layer: nn.Module, anatomy: LayerAnatomy, part: str = "f") -> nn.Module | None:
    """The module whose output the FFN (``f``) or the mixer (``m``) adds to the stream: its post-norm, or the part itself.

    None where the layer has no such part.
    """
    if part == "m":
        name = anatomy.mixer_post_norm or anatomy.mixer_module
    else:
        name = anatomy.ffn and (anatomy.post_norm or anatomy.ffn.module)
    return submodule(layer, name) if name else None


@contextmanager
def observe(model: Any, anatomy: Anatomy, observer: Observer) -> Iterator[None]:
    """While open, every forward reports each layer's sites to ``observer``."""
    handles: list[Any] = []
    for info, layer in zip(anatomy.layers, layer_modules(model, anatomy), strict=True):
        handles += _watch_layer(layer, info, observer, anatomy.residual_multiplier)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_layer(layer: nn.Module, info: LayerAnatomy, observer: Observer, multiplier: float) -> list[Any]:
    index = info.index
    state: dict[str, torch.Tensor] = {}

    def scaled(increment: torch.Tensor) -> torch.Tensor:
        return increment if multiplier == 1.0 else increment * multiplier

    def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        state["h_in"] = _layer_input(args, kwargs)
        observer(index, "h_in", state["h_in"])

    def leave(_: nn.Module, args: Any, output: Any) -> None:
        observer(index, "h_out", _first(output))
        state.clear()

    handles: list[Any] = [
        layer.register_forward_pre_hook(enter, with_kwargs=True),
        layer.register_forward_hook(leave),
    ]
    mixed_by = increment_module(layer, info, "m")
    if mixed_by is not None:

        def mixed(_: nn.Module, args: Any, output: Any) -> None:
            observer(index, "m", scaled(_first(output)))

        handles.append(mixed_by.register_forward_hook(mixed))
    if info.ffn is None:
        return handles
    ffn = info.ffn
    if mixed_by is None:  # two mixers side by side: together they add what the stream gained before the FFN's norm

        def middle(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            observer(index, "m", _layer_input(args, kwargs) - state["h_in"])

        entry = submodule(layer, info.pre_norm or ffn.module)
        handles.append(entry.register_forward_pre_hook(middle, with_kwargs=True))

    def into_ffn(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        observer(index, "x", _layer_input(args, kwargs))

    def gated(_: nn.Module, args: Any, output: Any) -> None:
        gate = _first(output)
        observer(index, "gate", gate.chunk(2, dim=-1)[0] if ffn.fused_gate_up else gate)

    def neurons(_: nn.Module, args: tuple[Any, ...]) -> None:
        observer(index, "a", args[0])

    def added(_: nn.Module, args: Any, output: Any) -> None:
        observer(index, "f", scaled(_first(output)))

    handles.append(submodule(layer, ffn.module).register_forward_pre_hook(into_ffn, with_kwargs=True))
    handles.append(submodule(layer, ffn.gate or ffn.up).register_forward_hook(gated))
    handles.append(submodule(layer, ffn.down).register_forward_pre_hook(neurons))
    increment = increment_module(layer, info)
    assert increment is not None
    handles.append(increment.register_forward_hook(added))
    return handles


@contextmanager
def ablate(module: nn.Module, mean: torch.Tensor) -> Iterator[None]:
    """While open, ``module`` outputs ``mean`` (shape (width,)) at every position."""

    def replace(_: nn.Module, args: Any, output: Any) -> Any:
        # Each place its own memory: some families (Falcon) add to it in place.
        constant = mean.to(_first(output).dtype).expand_as(_first(output)).clone()
        return (constant, *output[1:]) if isinstance(output, tuple) else constant

    handle = module.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
