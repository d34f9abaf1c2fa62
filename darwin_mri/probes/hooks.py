"""What a layer does, by site: one set of hooks for the scan, which streams, and for the arms, which keep.

Sites of a layer, in the order of its forward; h is the residual stream, every tensor has shape (rows, length, width):

======== ======================================================================================================
h_in     the stream that enters the layer
m        the mixer's increment, as it is added to the stream
x        the FFN's input, after its norm
gate     the gate's pre-activation; of an FFN without a gate, the up projection's
a        the neurons: what the down projection reads
o        the FFN's own output, before a post-norm
f        the FFN's increment, as it is added to the stream: after post-norm and residual multiplier
h_out    the stream that leaves the layer
======== ======================================================================================================

Where mixer and FFN run side by side, ``m`` may come last but one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints import LoadedModel, submodule
from darwin_mri.records import FfnAnatomy, LayerAnatomy

SITES = ("h_in", "m", "x", "gate", "a", "o", "f", "h_out")
STREAMED = tuple(site for site in SITES if site != "o")
OF_FFN = ("x", "gate", "a", "o", "f")

Observer = Callable[[int, str, torch.Tensor], None]
"""Called with (layer index, site, tensor of shape (rows, length, width))."""
Change = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def observe(parent: LoadedModel, observer: Observer) -> Iterator[None]:
    """While open, every forward reports each layer's sites to ``observer``, all but ``o``; nothing is kept."""
    with _hook_layers(parent, {info.index: STREAMED for info in parent.anatomy.layers}, observer):
        yield


@contextmanager
def capture(parent: LoadedModel, sites: Mapping[int, Sequence[str]]) -> Iterator[dict[tuple[int, str], torch.Tensor]]:
    """While open, a forward leaves (layer index, site) -> tensor in the yielded dictionary, the newest only.

    Args:
        parent: the model that is run.
        sites: layer index -> names of its sites.

    Raises:
        InputError: an FFN's site of a layer that has no plain FFN.
    """
    for index, names in sites.items():
        if any(site in OF_FFN for site in names):
            parent.ffn(index)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    with _hook_layers(parent, sites, lambda index, site, value: seen.__setitem__((index, site), value)):
        yield seen


@contextmanager
def _hook_layers(parent: LoadedModel, sites: Mapping[int, Sequence[str]], observer: Observer) -> Iterator[None]:
    handles: list[Any] = []
    try:
        for index, names in sites.items():
            handles += _hook_layer(parent, index, names, observer)
        yield
    finally:
        for handle in handles:
            handle.remove()


def increment_module(layer: nn.Module, anatomy: LayerAnatomy, part: str = "f") -> nn.Module | None:
    """The module whose output the FFN or the mixer adds to the stream: its post-norm, or the part itself.

    Args:
        layer: the decoder layer.
        anatomy: its anatomy.
        part: ``f`` (FFN) or ``m`` (mixer).

    Returns:
        The module; None where the layer has no such part.
    """
    if part == "m":
        name = anatomy.mixer_post_norm or anatomy.mixer_module
    else:
        name = anatomy.ffn and (anatomy.post_norm or anatomy.ffn.module)
    return submodule(layer, name) if name else None


class _LayerHooks:
    """Hooks that report one layer's sites.

    Args:
        index: of the layer.
        observer: called with index, site and tensor.
    """

    def __init__(self, index: int, observer: Observer) -> None:
        self.index, self.observer = index, observer
        self.handles: list[Any] = []

    def before(self, module: nn.Module, site: str) -> None:
        """Report what the module is given."""

        def report(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.observer(self.index, site, _input(args, kwargs))

        self.handles.append(module.register_forward_pre_hook(report, with_kwargs=True))

    def after(self, module: nn.Module, site: str, change: Change | None = None) -> None:
        """Report what the module returns, or what ``change`` makes of it."""

        def report(_: nn.Module, args: Any, output: Any) -> None:
            value = _first(output)
            self.observer(self.index, site, value if change is None else change(value))

        self.handles.append(module.register_forward_hook(report))

    def between(self, layer: nn.Module, entry: nn.Module, site: str) -> None:
        """Report what the stream gained between the layer's input and the input of ``entry``."""
        entered: list[torch.Tensor] = []

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            entered[:] = [_input(args, kwargs)]

        def report(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.observer(self.index, site, _input(args, kwargs) - entered.pop())

        self.handles += [
            layer.register_forward_pre_hook(enter, with_kwargs=True),
            entry.register_forward_pre_hook(report, with_kwargs=True),
        ]


def _hook_layer(parent: LoadedModel, index: int, sites: Sequence[str], observer: Observer) -> list[Any]:
    """Register a layer's hooks; returns their handles."""
    layer, info, multiplier = parent.layers[index], parent.anatomy.layers[index], parent.anatomy.residual_multiplier
    scale: Change | None = None if multiplier == 1.0 else lambda increment: increment * multiplier
    hooks = _LayerHooks(index, observer)
    if "h_in" in sites:
        hooks.before(layer, "h_in")
    if "h_out" in sites:
        hooks.after(layer, "h_out")
    mixer = increment_module(layer, info, "m")
    if "m" in sites and mixer is not None:
        hooks.after(mixer, "m", scale)
    elif "m" in sites and info.ffn is not None:
        # Two mixers side by side: what both add is known before the FFN's norm.
        hooks.between(layer, submodule(layer, info.pre_norm or info.ffn.module), "m")
    if info.ffn is not None:
        _hook_ffn(hooks, layer, info.ffn, sites)
        increment = increment_module(layer, info)
        if "f" in sites and increment is not None:
            hooks.after(increment, "f", scale)
    return hooks.handles


def _hook_ffn(hooks: _LayerHooks, layer: nn.Module, ffn: FfnAnatomy, sites: Sequence[str]) -> None:
    if "x" in sites:
        hooks.before(submodule(layer, ffn.module), "x")
    if "gate" in sites:
        # A fused projection returns gate and up side by side, (rows, length, 2 x width).
        hooks.after(submodule(layer, ffn.gate or ffn.up), "gate", _first_half if ffn.fused_gate_up else None)
    if "a" in sites:
        hooks.before(submodule(layer, ffn.down), "a")
    if "o" in sites:
        hooks.after(submodule(layer, ffn.module), "o")


def _first_half(value: torch.Tensor) -> torch.Tensor:
    return value.chunk(2, dim=-1)[0]


def _first(value: Any) -> torch.Tensor:
    """A module's output, or the first of several."""
    return value[0] if isinstance(value, tuple) else value


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """A module's input: its first argument, however it is passed."""
    given: Any = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return given


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
