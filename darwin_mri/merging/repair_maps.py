"""Which linear maps of a model can be solved again, in the order in which a forward calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from darwin_mri.checkpoints import LoadedModel, stored_tensors
from darwin_mri.probes import Batch, final_states

OUTSIDE = "outside the layers (embeddings, output head, projections that all layers share)"
STACKED = "stacked experts"
SHARED = "tied to another tensor"
OTHERS = "no linear map that reads every token once"


@dataclass(frozen=True)
class MapGroup:
    """Linear maps of one layer that read the same input, so that one second moment serves all.

    Attributes:
        layer: number of the layer.
        tensors: their weights, by the names of parameters, (outputs, inputs) each.
    """

    layer: int
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class RepairMaps:
    """The linear maps of a model.

    Attributes:
        layers: number of a layer -> its groups, in the order of the forward; layers without any are absent.
        left_alone: reason -> matrices that a child may change and that are no such maps.
    """

    layers: dict[int, tuple[MapGroup, ...]]
    left_alone: dict[str, tuple[str, ...]]

    def tensors(self, layer: int) -> tuple[str, ...]:
        """All maps of a layer."""
        return tuple(name for group in self.layers[layer] for name in group.tensors)


def module_of(model: LoadedModel, tensor: str) -> nn.Linear:
    """The linear map that a weight belongs to."""
    module: nn.Linear = model.model.get_submodule(tensor.rpartition(".")[0])
    return module


@contextmanager
def hooked(handles: list[Any]) -> Iterator[None]:
    """While open, these hooks are registered."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def find_maps(model: LoadedModel, batch: Batch, movable: Collection[str]) -> RepairMaps:
    """Find the maps by one forward: what each reads, and when.

    A map counts when it is a plain ``nn.Linear`` within a decoder layer, its weight may change and belongs to it alone,
    and a forward calls it once, with every token. Maps that are handed the same values are one group.

    Args:
        model: in memory.
        batch: text it reads.
        movable: parameters that a child may change.

    Returns:
        The maps, and what is left alone.
    """
    owners = Counter(
        id(parameter) for module in model.model.modules() for parameter in module.parameters(recurse=False)
    )
    layer_of, candidates = dict[str, int](), dict[str, nn.Linear]()
    for number, layer in enumerate(model.layers):
        for path, module in layer.named_modules():
            name = f"{model.anatomy.prefix}.{number}.{path}.weight"
            if not isinstance(module, nn.Linear) or type(module).forward is not nn.Linear.forward:
                continue
            if name in movable and owners[id(module.weight)] == 1:
                layer_of[name], candidates[name] = number, module
    calls: list[tuple[str, Tensor]] = []  # inputs are kept, so that no other takes the place of one

    def note(name: str) -> Any:
        return lambda _, args: calls.append((name, args[0]))

    with hooked([module.register_forward_pre_hook(note(name)) for name, module in candidates.items()]):
        final_states(model.model, batch)
    times = Counter(name for name, _ in calls)
    groups: dict[tuple[int, Any], list[str]] = {}
    for name, given in calls:
        if times[name] == 1 and given[..., 0].numel() == batch.ids.numel():
            groups.setdefault((layer_of[name], (given.data_ptr(), given.shape, given.stride())), []).append(name)
    layers: dict[int, tuple[MapGroup, ...]] = {}
    for (number, _), names in groups.items():
        layers[number] = (*layers.get(number, ()), MapGroup(number, tuple(names)))
    layers = dict(sorted(layers.items()))
    found = {name for names in groups.values() for name in names}
    return RepairMaps(layers, _left_alone(model, found, movable, owners))


def _left_alone(
    model: LoadedModel, found: Collection[str], movable: Collection[str], owners: Counter[int]
) -> dict[str, tuple[str, ...]]:
    """Reason -> matrices that are not repaired."""
    left: dict[str, list[str]] = {}
    for name, tensor in stored_tensors(model.model).items():
        if tensor.dim() < 2 or name in found or not (name in movable or f"{name}[0]" in movable):
            continue
        inside = name.startswith(f"{model.anatomy.prefix}.")
        reason = OUTSIDE if not inside else STACKED if tensor.dim() > 2 else OTHERS
        if inside and owners[id(tensor)] > 1:
            reason = SHARED
        left.setdefault(reason, []).append(name)
    return {reason: tuple(names) for reason, names in left.items()}
