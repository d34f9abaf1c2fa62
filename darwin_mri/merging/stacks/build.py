"""A stack as a plain model folder, so that whatever scans, loads or merges sees an ordinary model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from darwin_mri.checkpoints.find import ModelSource
from darwin_mri.checkpoints.layout import DECODER, HEAD
from darwin_mri.checkpoints.libraries import first_line
from darwin_mri.checkpoints.meta import make_config
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import LAYER, Survey
from darwin_mri.checkpoints.verify import INDEX
from darwin_mri.checkpoints.writing import Content, Form, other_files
from darwin_mri.errors import CheckpointError, InputError
from darwin_mri.merging.derived import Contents, Derivation, derive
from darwin_mri.merging.differences import structural_fault, token_fault
from darwin_mri.merging.stacks.check import refuse_changed_layers
from darwin_mri.merging.stacks.config import layered_fields, stack_config
from darwin_mri.merging.stacks.ranges import Layer, Stack, stacked_layers

KIND = "stack"
CONFIG = "config.json"
# Tables with a part for each layer -> the axis on which the parts follow each other (Gemma 3n and 4).
TABLES = {"embed_tokens_per_layer.weight": 1, "per_layer_model_projection.weight": 0}
# What comes after the layers, by its name in the decoder.
AFTER = ("norm", "final_norm", "ln_f", "final_layernorm", "final_layer_norm", "embedding_norm", "norm_f",
         "altup_unembed_projections", "layer_norm", "output_norm")  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """One tensor of a stack.

    Attributes:
        form: (dtype, shape).
        read: makes it.
        factor: it is multiplied with.
        origin: (model folder, tensor there) that it is made of; of a table with a part for each layer, the first.
    """

    form: Form
    read: Callable[[], Tensor]
    factor: float
    origin: tuple[Path, str]

    def tensor(self) -> Tensor:
        """Its values, rounded once."""
        value = self.read()
        return value.to(self.form[0]) if self.factor == 1.0 else (value.float() * self.factor).to(self.form[0])


def build_stack(stack: Stack) -> ModelSource:
    """Write a stack as a model folder in the cache of unpacked parents, or find it where it was written before.

    What comes before the layers and the small files are the first range's model's; the last norm and the head are the
    last range's model's.

    Args:
        stack: its ranges.

    Returns:
        The stack; the model itself where a stack is all of its layers in order.

    Raises:
        InputError: a range does not exist, the models do not fit, or the stack breaks what layers have in common.
        CheckpointError: a folder does not load whole.
    """
    layers = stacked_layers(stack)
    first = stack.ranges[0]
    whole = [layer.index for layer in layers] == list(range(len(layers[0].model.anatomy.layers)))
    alone = all(part.source.folder == first.source.folder for part in stack.ranges)
    if whole and alone and all(part.scale is None for part in stack.ranges):
        return first.source
    _refuse_strangers(layers)
    config = stack_config(layers)
    _refuse_impossible(layers, config, str(stack))
    parts = _Builder(layers).parts()
    if whole and alone and all(part.factor == 1.0 for part in parts.values()):
        return first.source
    folder = first.source.folder
    files: dict[str, Content] = {
        name: folder / name for name in other_files(folder, layers[0].model.shards) if name != INDEX
    }
    del files[CONFIG]
    recipe = {"ranges": [[part.first, part.last] for part in stack.ranges], "config": config}
    recipe["factors"] = {name: part.factor for name, part in parts.items() if part.factor != 1.0}
    sources = tuple(part.source for part in stack.ranges)
    contents = Contents(
        {name: part.form for name, part in parts.items()},
        {name: part.origin for name, part in parts.items()},
        lambda name: parts[name].tensor(),
        files,
        config,
    )
    made = derive(Derivation(KIND, sources, recipe, f"{stack}: layers stacked in this order"), contents)
    return replace(made, ref=str(stack), revision=None)


def _refuse_impossible(layers: Sequence[Layer], config: dict[str, Any], ref: str) -> None:
    """A configuration that transformers refuses, or reads so that a layer becomes another."""
    try:
        refuse_changed_layers(layers, make_config(config, ref), ref)
    except CheckpointError as error:
        reason = first_line(error.__context__) if isinstance(error.__context__, Exception) else str(error)
        raise InputError(f"the stack cannot be: transformers refuses its configuration: {reason}") from None


def _refuse_strangers(layers: Sequence[Layer]) -> None:
    """Models whose layers or tokens mean other things."""
    first, last = layers[0], layers[-1]
    for layer in layers:
        if layer.model is not first.model:
            ignored = layered_fields(first) | layered_fields(layer)
            fault = structural_fault(first.model, layer.model, layer.ref, ignored)
            if fault:
                raise InputError(f"the stack cannot be: {fault.replace('the father', first.ref)}")
    fault = token_fault(first.model, last.model, last.ref) if last.model is not first.model else None
    if fault:
        raise InputError(f"the stack cannot be: {fault.replace('the father', first.ref)}")


class _Builder:
    """Finds every tensor of a stack."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.first, self.last = layers[0].model, layers[-1].model
        self.readers = {layer.model.folder: CheckpointReader(layer.model.folder) for layer in layers}
        self.depth = len(layers)
        self._rests: dict[Path, dict[int, list[tuple[str, str]]]] = {}

    def parts(self) -> dict[str, _Part]:
        """Name on disk -> tensor, in the order of the model."""
        before, after = self._beside()
        parts = dict(before)
        for at, layer in enumerate(self.layers):
            parts |= self._layer(at, layer)
        return parts | after

    def _layer(self, at: int, layer: Layer) -> dict[str, _Part]:
        match = LAYER.match(self._places(self.first)[0][0][0])
        assert match is not None
        parts = {}
        for disk, rest in self._places(layer.model)[layer.index]:
            name = f"{match['prefix']}.{at}.{rest}"
            parts[name] = self._part(name, layer.model, disk, layer, self._dtype_like(rest))
        return parts

    def _part(
        self, name: str, model: Survey, disk: str, layer: Layer, dtype: torch.dtype | None, place: float | None = None
    ) -> _Part:
        reader = self.readers[model.folder]
        factor = 1.0
        if layer.scale is not None:
            given = layer.scale(name, layer.place if place is None else place)
            factor = 1.0 if given is None else float(given)
        form = (dtype or reader.dtype(disk), reader.shape(disk))
        return _Part(form, lambda: reader.tensor(disk), factor, (model.folder, disk))

    def _places(self, model: Survey) -> dict[int, list[tuple[str, str]]]:
        """Layer -> (tensor on disk, its name within the layer)."""
        if model.folder not in self._rests:
            prefix, found = f"{model.anatomy.prefix}.", {}
            for memory, disk in model.layout.stored.items():
                if memory.startswith(prefix):
                    index = int(memory.removeprefix(prefix).split(".")[0])
                    match = LAYER.match(disk)
                    if match is None or int(match["index"]) != index:
                        raise InputError(f"the stack cannot be: {disk} is stored under a name without its layer")
                    found.setdefault(index, []).append((disk, match["rest"]))
            self._rests[model.folder] = found
        return self._rests[model.folder]

    def _dtype_like(self, rest: str) -> torch.dtype | None:
        """The dtype that the first model has such tensors in; None where it has none."""
        for places in self._places(self.first).values():
            for disk, own in places:
                if own == rest:
                    return self.readers[self.first.folder].dtype(disk)
        return None

    def _beside(self) -> tuple[dict[str, _Part], dict[str, _Part]]:
        """Tensors (before, after) the layers."""
        layout, prefix = self.first.layout, f"{self.first.anatomy.prefix}."
        before: dict[str, _Part] = {}
        after: dict[str, _Part] = {}
        for memory, disk in layout.stored.items():
            if memory.startswith(prefix):
                continue
            text = layout.text.get(memory, "")
            dtype = self.readers[self.first.folder].dtype(disk)
            if axis := self._table_axis(text):
                before[disk] = self._table(text, disk, axis[0])
            elif _comes_after(text):
                after[disk] = self._part(disk, self.last, self._counterpart(text), self.layers[-1], dtype, 0.0)
            else:
                before[disk] = self._part(disk, self.first, disk, self.layers[0], dtype, 0.0)
        for disk in (*layout.copies, *layout.others):
            before[disk] = self._part(disk, self.first, disk, self.layers[0], None, 0.0)
        return before, after

    def _counterpart(self, text: str) -> str:
        """The last model's tensor of a name in the text model."""
        layout = self.last.layout
        disk = layout.text_tensors.get(text) or layout.text_tensors.get(layout.text_ties.get(text, ""))
        if disk is None:
            raise InputError(f"the stack cannot be: {self.layers[-1].ref} has no {text}, which the first model has")
        return disk

    def _table_axis(self, text: str) -> tuple[int] | None:
        axis = TABLES.get(text.removeprefix(f"{DECODER}."))
        return None if axis is None else (axis,)

    def _table(self, text: str, disk: str, axis: int) -> _Part:
        """A table with a part for each layer, in the stack's order."""
        sources = [layer.model.layout.text_tensors[text] for layer in self.layers]
        reader = self.readers[self.first.folder]
        shape = list(reader.shape(disk))
        width = shape[axis] // len(self.first.anatomy.layers)
        shape[axis] = width * self.depth

        def read() -> Tensor:
            parts = [
                self.readers[layer.model.folder].tensor(source).narrow(axis, layer.index * width, width)
                for layer, source in zip(self.layers, sources, strict=True)
            ]
            return torch.cat([part.to(reader.dtype(disk)) for part in parts], axis)

        factor = self.layers[0].scale(disk, 0.0) if self.layers[0].scale is not None else None
        origin = (self.first.folder, disk)
        return _Part((reader.dtype(disk), tuple(shape)), read, 1.0 if factor is None else float(factor), origin)


def _comes_after(text: str) -> bool:
    if text.startswith(f"{HEAD}."):
        return True
    own = text.removeprefix(f"{DECODER}.")
    return own != text and own.split(".")[0] in AFTER
