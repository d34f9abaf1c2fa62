"""The parts of a mixture of experts, told by their shapes and places: experts, router, and what every token passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from darwin_mri.checkpoints.names import FFN_NAMES, MIXER_NAMES, ROUTER_WORDS, TOP_K_FIELDS, ffn_layout
from darwin_mri.records import MoeAnatomy

SHARED_PLACE = "mixer"  # Nemotron-H's name for any part of a layer, experts among them


def find_moe(layer: nn.Module, config: Any) -> MoeAnatomy | None:
    """Find a layer's mixture of experts.

    The experts are a module with two stacked matrices or more, (experts, in, out) each, or a list of equal FFNs. The
    router is the module beside them with a row per expert; what else of the block has weights, every token passes, as
    it does a dense FFN beside the block.

    Args:
        layer: the decoder layer, with values or without.
        config: the text configuration.

    Returns:
        The mixture, without its increments; None where the layer has none of this kind.
    """
    for name, module in _outside_mixer(layer):
        count = _expert_count(module)
        if count is None:
            continue
        block = name.rpartition(".")[0]
        holder = layer.get_submodule(block)
        router = _router(holder, module, count)
        if router is None:
            continue
        return MoeAnatomy(
            module=block,
            experts=name,
            router=_joined(block, router),
            shared=(*_shared(holder, block, {module, getattr(holder, router)}, count), *_dense_beside(layer, block)),
            count=count,
            per_token=_per_token(holder, getattr(holder, router), config),
        )
    return None


def _outside_mixer(layer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in layer.named_modules():
        place = name.partition(".")[0]
        if name and (place not in MIXER_NAMES or place == SHARED_PLACE):
            yield name, module


def _expert_count(module: nn.Module) -> int | None:
    """How many experts a module holds; None where it holds none."""
    if isinstance(module, nn.ModuleList):
        return len(module) if len(module) > 1 and all(ffn_layout(part) for part in module) else None
    stacked = [parameter.shape for parameter in module.parameters(recurse=False) if parameter.dim() == 3]
    counts = {shape[0] for shape in stacked}
    return stacked[0][0] if len(stacked) > 1 and len(counts) == 1 else None


def _router(holder: nn.Module, experts: nn.Module, count: int) -> str | None:
    """Name of the child with a matrix of one row per expert; by its name where several have one."""
    names = [
        name
        for name, child in holder.named_children()
        if child is not experts and name not in MIXER_NAMES and ffn_layout(child) is None and _has_rows(child, count)
    ]
    named = [name for name in names if any(word in name for word in ROUTER_WORDS)]
    return next(iter([*named, *names]), None)


def _has_rows(module: nn.Module, count: int) -> bool:
    return any(parameter.dim() == 2 and parameter.shape[0] == count for parameter in module.parameters())


def _shared(holder: nn.Module, block: str, known: set[nn.Module], count: int) -> list[str]:
    """Children of the block that every token passes, by their names in the layer."""
    names = []
    for name, child in holder.named_children() if block else ():
        tensors = [*child.parameters(), *child.buffers()]
        per_expert = ffn_layout(child) is None and any(count in tensor.shape for tensor in tensors)
        if tensors and child not in known and not per_expert:
            names.append(_joined(block, name))
    return names


def _dense_beside(layer: nn.Module, block: str) -> list[str]:
    """Children of the layer that are an FFN beside the block."""
    children = dict(layer.named_children())
    return [name for name in FFN_NAMES if name != block and name in children and ffn_layout(children[name]) is not None]


def _per_token(holder: nn.Module, router: nn.Module, config: Any) -> int | None:
    values = (getattr(owner, name, None) for owner in (router, holder, config) for name in TOP_K_FIELDS)
    return next((value for value in values if isinstance(value, int)), None)


def _joined(block: str, name: str) -> str:
    return f"{block}.{name}" if block else name
