"""What a layer does, by site: one set of hooks for the scan, which streams, and for the arms, which keep.

Sites of a layer, in the order of its forward; h is the residual stream, tensors have shape (rows, length, width):

======== ======================================================================================================
h_in     the stream that enters the layer
m        the mixer's increment, as it is added to the stream
x        the FFN's input, after its norm
gate     the gate's pre-activation; of an FFN without a gate, the up projection's
a        the neurons: what the down projection reads
o        the FFN's own output, before a post-norm
f        the FFN's increment, or that of a mixture of experts, as it is added to the stream: after post-norm and
         residual multiplier
route    numbers of the experts that each token passes, (rows, length, experts per token); of a mixture of experts
h_out    the stream that leaves the layer
======== ======================================================================================================

Where mixer and FFN run side by side, ``m`` may come last but one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from darwin_mri.checkpoints import LoadedModel, submodule
from darwin_mri.probes.tokens import Batch, final_states
from darwin_mri.records import FfnAnatomy, LayerAnatomy, MoeAnatomy

SITES = ("h_in", "m", "x", "gate", "a", "o", "route", "f", "h_out")
STREAMED = tuple(site for site in SITES if site != "o")
OF_FFN = ("x", "gate", "a", "o")
OF_MIXTURE = "route"

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
        if any(site in OF_FFN or (site == "f" and parent.anatomy.layers[index].moe is None) for site in names):
            parent.ffn(index)
    seen: dict[tuple[int, str], torch.Tensor] = {}
    with _hook_layers(parent, sites, lambda index, site, value: seen.__setitem__((index, site), value)):
        yield seen


def read_through(parent: LoadedModel, batch: Batch, layer: int) -> None:
    """A forward that ends behind a layer; for what ``capture`` keeps of this layer and those before.

    Args:
        parent: the model that is run.
        batch: what it reads.
        layer: index of the last layer that is computed.
    """

    def stop(*_: object) -> None:
        raise _Read

    handle = parent.layers[layer].register_forward_hook(stop)  # behind the hooks that were there before
    try:
        with suppress(_Read):
            final_states(parent.model, batch)
    finally:
        handle.remove()


class _Read(Exception):
    """The last layer that is needed has been computed."""


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


def increment_modules(layer: nn.Module, anatomy: LayerAnatomy, part: str = "f") -> list[nn.Module]:
    """The modules whose outputs add up to what the FFN or the mixer adds to the stream.

    That is its post-norm, or the part itself; several where a mixture of experts and a dense FFN are added up.

    Args:
        layer: the decoder layer.
        anatomy: its anatomy.
        part: ``f`` (FFN) or ``m`` (mixer).

    Returns:
        The modules; none where the layer has no such part.
    """
    if part == "m":
        names = (anatomy.mixer_post_norm or anatomy.mixer_module,)
    elif anatomy.moe is not None:
        names = anatomy.moe.increments
    else:
        names = (anatomy.ffn and (anatomy.post_norm or anatomy.ffn.module),)
    return [submodule(layer, name) for name in names if name]


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

    def added_up(self, modules: Sequence[nn.Module], site: str, like: nn.Module, change: Change | None) -> None:
        """Report the sum of what modules return, or what ``change`` makes of it, in the shape of the layer's stream."""
        parts: list[torch.Tensor] = []
        shape: list[torch.Size] = []

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            parts.clear()
            shape[:] = [_input(args, kwargs).shape]

        def report(_: nn.Module, args: Any, output: Any) -> None:
            parts.append(_first(output).reshape(shape[0]))  # a mixture may return its tokens in one row
            if len(parts) == len(modules):
                value = parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)
                self.observer(self.index, site, value if change is None else change(value))
                parts.clear()

        self.handles.append(like.register_forward_pre_hook(enter, with_kwargs=True))
        self.handles += [module.register_forward_hook(report) for module in modules]

    def route(self, layer: nn.Module, moe: MoeAnatomy) -> None:
        """Report which experts each token passes: what the experts are told, else what the router chose."""
        shape: list[torch.Size] = []
        chosen: list[Any] = []

        def enter(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            shape[:] = [_input(args, kwargs).shape[:-1]]

        def keep(_: nn.Module, args: Any, output: Any) -> None:
            chosen[:] = output if isinstance(output, tuple) else [output]

        def report(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            numbers = _whole_numbers([*args, *kwargs.values(), *chosen])
            if numbers is None and moe.per_token is not None:  # Llama 4: scores, the highest of which were chosen
                scores = next(value for value in chosen if value.shape[-1] == moe.count)
                numbers = scores.topk(moe.per_token, dim=-1).indices
            if numbers is not None:
                self.observer(self.index, OF_MIXTURE, numbers.reshape(*shape[0], -1))
            chosen.clear()

        self.handles += [
            layer.register_forward_pre_hook(enter, with_kwargs=True),
            submodule(layer, moe.router).register_forward_hook(keep),
            submodule(layer, moe.experts).register_forward_pre_hook(report, with_kwargs=True),
        ]

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
    mixer = increment_modules(layer, info, "m")
    if "m" in sites and mixer:
        hooks.after(mixer[0], "m", scale)
    elif "m" in sites and info.ffn is not None:
        # Two mixers side by side: what both add is known before the FFN's norm.
        hooks.between(layer, submodule(layer, info.pre_norm or info.ffn.module), "m")
    if info.ffn is not None:
        _hook_ffn(hooks, layer, info.ffn, sites)
    if info.moe is not None and OF_MIXTURE in sites:
        hooks.route(layer, info.moe)
    increments = increment_modules(layer, info)
    if "f" in sites and increments and info.moe is not None:
        hooks.added_up(increments, "f", layer, scale)
    elif "f" in sites and increments:
        hooks.after(increments[0], "f", scale)
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


def _whole_numbers(values: Sequence[Any]) -> torch.Tensor | None:
    """The first tensor of whole numbers."""
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    return next((value for value in tensors if value.dtype in (torch.int32, torch.int64)), None)


def _first(value: Any) -> torch.Tensor:
    """A module's output, or the first of several."""
    return value[0] if isinstance(value, tuple) else value


def _input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """A module's input: its first argument, however it is passed."""
    given: Any = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
    return given


@contextmanager
def ablate(modules: Sequence[nn.Module], mean: torch.Tensor) -> Iterator[None]:
    """While open, the outputs of ``modules`` add up to ``mean`` (shape (width,)) at every position."""

    def replace(module: nn.Module, args: Any, output: Any) -> Any:
        value = mean if module is modules[0] else torch.zeros_like(mean)
        # Each place its own memory: some families (Falcon) add to it in place.
        constant = value.to(_first(output).dtype).expand_as(_first(output)).clone()
        return (constant, *output[1:]) if isinstance(output, tuple) else constant

    handles = [module.register_forward_hook(replace) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
