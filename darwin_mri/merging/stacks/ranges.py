"""Which layers of which models a stack is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.survey import Survey, survey
from darwin_mri.errors import InputError

Scale = Callable[[str, float], float | None]
"""(tensor's name in the stack, place in the range from 0 to 1) -> factor; None or 1 leaves the tensor."""


@dataclass(frozen=True)
class LayerRange:
    """Consecutive layers of a model.

    Attributes:
        source: the model.
        first: the first layer, counted from 0.
        last: the layer after the last one.
        scale: factors of tensors. The first range's also counts for what comes before the layers (place 0), the last
            range's for what comes after them.
    """

    source: ModelSource
    first: int
    last: int
    scale: Scale | None = None

    def __str__(self) -> str:
        return f"{self.source.ref}[{self.first}:{self.last}]"


@dataclass(frozen=True)
class Stack:
    """A model of layers from one or more models, in order.

    Attributes:
        ranges: of its layers, from the embedding to the head.
    """

    ranges: tuple[LayerRange, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.ranges))


class Layer(NamedTuple):
    """One layer of a stack.

    Attributes:
        model: where it comes from; one object for one folder.
        fields: of that model's text configuration, with the family's defaults.
        index: its number there.
        ref: what errors call the model.
        scale: of its range.
        place: in its range, from 0 to 1.
    """

    model: Survey
    fields: Mapping[str, Any]
    index: int
    ref: str
    scale: Scale | None
    place: float


def stacked_layers(stack: Stack) -> list[Layer]:
    """The layers of a stack.

    Raises:
        InputError: there are none, or a model has no such layers.
        CheckpointError: a folder does not load whole.
    """
    layers: list[Layer] = []
    models = {part.source.folder: survey(part.source.folder) for part in stack.ranges}
    fields = {folder: model.text_config.to_dict() for folder, model in models.items()}
    for part in stack.ranges:
        model = models[part.source.folder]
        depth = len(model.anatomy.layers)
        if not 0 <= part.first < part.last <= depth:
            raise InputError(f"{part}: {part.source.ref} has layers 0 to {depth - 1}: give a range [first, after last]")
        count = part.last - part.first
        for at in range(count):
            place = at / (count - 1) if count > 1 else 1.0
            layers.append(Layer(model, fields[model.folder], part.first + at, part.source.ref, part.scale, place))
    if not layers:
        raise InputError("a stack has no layers: give at least one range")
    return layers


def stacks_of_slices(slices: Sequence[Sequence[LayerRange]]) -> tuple[Stack, ...]:
    """The stacks that are merged as siblings where each slice merges several sources.

    Args:
        slices: per slice its sources. Where every slice names the same models, each model has its stack; else the
            sources at one position of every slice make a stack.

    Returns:
        The stacks, in the order of the first slice's sources.

    Raises:
        InputError: sources of a slice have unequal numbers of layers, or slices unequal numbers of sources.
    """
    first = slices[0]
    for number, parts in enumerate(slices):
        lengths = [part.last - part.first for part in parts]
        if len(set(lengths)) != 1:
            raise InputError(f"the sources of slice {number} have {lengths} layers: a merge needs as many of each")
        if len(parts) != len(first):
            raise InputError(
                f"slice {number} merges {len(parts)} models, slice 0 {len(first)}: name as many in each (a model that"
                " has no part gets weight 0)"
            )
    models = [part.source for part in first]
    ordered = [list(parts) for parts in slices]
    if len(set(models)) == len(models) and all({part.source for part in parts} == set(models) for parts in slices):
        ordered = [sorted(parts, key=lambda part: models.index(part.source)) for parts in slices]
    return tuple(Stack(tuple(parts)) for parts in zip(*ordered, strict=True))
