"""Where transformers' loader puts each tensor of a model folder, asked of the loader itself on the meta device.

Names on disk are not names in memory: loaders rename, assemble, tie, ignore and initialise. Whatever compares or writes
folders asks here, so that it means the same model as whatever loads one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    dot_natural_key,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig

from darwin_mri.checkpoints.anatomy import decoder_of, outline_anatomy
from darwin_mri.checkpoints.assembly import Assembly
from darwin_mri.checkpoints.libraries import quiet
from darwin_mri.checkpoints.linear_maps import is_transposed, linear_modules
from darwin_mri.checkpoints.meta import loading_class, meta_model, whole_class
from darwin_mri.errors import CheckpointError
from darwin_mri.records import Anatomy

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""(on disk, as config.json asks)."""
META = torch.device("meta")
DECODER, HEAD = "decoder", "head"


@dataclass(frozen=True)
class Layout:
    """Which tensors of a folder become which of the loaded model's.

    Attributes:
        stored: parameter or buffer in memory -> tensor on disk that it is read from. A part of an assembly has the
            assembly's name for it.
        assemblies: parameters that are put together from several tensors, or cut out of one.
        tied: parameter in memory -> the one in ``stored`` whose tensor it shares.
        copies: tensor on disk -> the one it repeats: a tied parameter that is stored twice.
        missing: parameters and buffers that are on disk nowhere, so that the loader draws them at random.
        reshaped: parameter -> (shape on disk, shape asked for by config.json) where they differ.
        unexpected: tensors on disk that the loader warns of, since it does not know them.
        others: tensors on disk beside the text model that some loader of the family reads, as those of a tower.
        text: of the names in ``stored`` and ``tied`` those of the text model -> the name there, the same in a wrapper
            and alone.
        anatomy: the decoder's layers as far as modules tell; norms are left open.
        linear: weight of a linear map of the layers, by its name in ``stored`` -> whether it is stored as (inputs,
            outputs).
    """

    stored: Mapping[str, str]
    assemblies: tuple[Assembly, ...]
    tied: Mapping[str, str]
    copies: Mapping[str, str]
    missing: tuple[str, ...]
    reshaped: Mapping[str, Shapes]
    unexpected: tuple[str, ...]
    others: tuple[str, ...]
    text: Mapping[str, str]
    anatomy: Anatomy
    linear: Mapping[str, bool]

    def on_disk(self, name: str) -> str:
        """The tensor on disk that a parameter, a buffer or a part of an assembly is read from."""
        return self.stored[self.tied.get(name, name)]

    @cached_property
    def text_tensors(self) -> dict[str, str]:
        """Name in the text model -> tensor on disk."""
        return {self.text[name]: disk for name, disk in self.stored.items() if name in self.text}

    @cached_property
    def text_ties(self) -> dict[str, str]:
        """As ``tied``, by names in the text model."""
        return {self.text[name]: self.text[source] for name, source in self.tied.items() if name in self.text}


def read_layout(
    config: Any, shapes: Mapping[str, Sequence[int]], equal: Callable[[str, str], bool], ref: str
) -> Layout:
    """Ask the loader what it does with a folder's tensors; no value is read.

    Args:
        config: transformers' configuration of the folder.
        shapes: tensor on disk -> shape.
        equal: whether two tensors on disk hold the same values; asked only where a tied parameter is stored twice,
            which the loader ties where they are the same.
        ref: what an error calls the model.

    Returns:
        The layout for the class that ``load_model`` loads.

    Raises:
        CheckpointError: transformers cannot build the model, or two tensors on disk would become one parameter.
    """
    fields = {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}
    text = json.dumps(fields, sort_keys=True, default=repr)
    reply = _ask(_Question(text, tuple((name, tuple(shape)) for name, shape in shapes.items()), config, ref))
    tied, copies = _ties(reply.model, reply.stored, equal)
    text_of = text_names(reply.model, (*reply.stored, *tied))
    in_text = {disk for name, disk in reply.stored.items() if name in text_of}
    anatomy = outline_anatomy(reply.model)
    return Layout(
        stored={name: disk for name, disk in reply.stored.items() if name not in tied},
        assemblies=reply.assemblies,
        tied=tied,
        copies=copies,
        missing=tuple(sorted(reply.missing)),
        reshaped=reply.reshaped,
        unexpected=tuple(sorted(name for name, memory in reply.unread.items() if memory in reply.unexpected)),
        others=tuple(sorted(set(shapes) - set(reply.unread) - in_text)),
        text=text_of,
        anatomy=anatomy,
        linear={name: is_transposed(module) for name, module in linear_modules(reply.model, anatomy).items()},
    )


@dataclass(frozen=True)
class _Question:
    """What the loader is asked; the same of all siblings, whose names alone differ.

    Attributes:
        text: all of the configuration.
        shapes: (tensor on disk, shape) in the folder's order.
        config: the configuration.
        ref: what an error calls the model.
    """

    text: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    config: Any = field(compare=False)
    ref: str = field(compare=False)


@dataclass(frozen=True)
class _Reply:
    """What the loader says, before tensors on disk are compared.

    Attributes:
        model: without values.
        stored: as ``Layout``, tied parameters among them.
        assemblies: as ``Layout``.
        unread: tensor on disk that no loader of the family reads -> its new name.
        missing: as ``Layout``.
        reshaped: as ``Layout``.
        unexpected: new names of tensors that the loader warns of.
    """

    model: Any
    stored: Mapping[str, str]
    assemblies: tuple[Assembly, ...]
    unread: Mapping[str, str]
    missing: set[str]
    reshaped: Mapping[str, Shapes]
    unexpected: set[str]


@lru_cache(maxsize=4)
def _ask(question: _Question) -> _Reply:
    """Ask the loader; raises CheckpointError as ``read_layout`` does."""
    config, ref, shapes = question.config, question.ref, dict(question.shapes)
    model = meta_model(loading_class(config, ref), config, ref)
    stored, assemblies, unread = _destinations(model, shapes, ref)
    missing, reshaped, unexpected = _load_on_meta(model, shapes)
    whole = whole_class(config, ref)
    if whole is not loading_class(config, ref):
        by_all = _destinations(meta_model(whole, config, ref), shapes, ref)[2]
        unread = {name: memory for name, memory in unread.items() if name in by_all}
    return _Reply(model, stored, assemblies, unread, missing, reshaped, unexpected)


def _destinations(
    model: Any, shapes: Mapping[str, Sequence[int]], ref: str
) -> tuple[dict[str, str], tuple[Assembly, ...], dict[str, str]]:
    """What the loader does with each tensor on disk.

    Args:
        model: without values.
        shapes: of the tensors on disk.
        ref: what an error calls it.

    Returns:
        (name in memory -> tensor on disk, assemblies, tensor on disk that nothing is read from -> its new name).

    Raises:
        CheckpointError: two tensors on disk would become one parameter.
    """
    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = {pattern: e for e in mapping if isinstance(e, WeightConverter) for pattern in e.source_patterns}
    unique = list(dict.fromkeys(converters.values()))
    state, prefix = model.state_dict(), model.base_model_prefix
    stored: dict[str, str] = {}
    taken: dict[str, list[tuple[str, str]]] = {}
    unread: dict[str, str] = {}
    for name in sorted(shapes, key=dot_natural_key):  # the loader's order, in which it assembles
        memory, pattern = rename_source_key(name, renamings, unique, prefix, state)
        if memory not in state and name in state:  # the loader's own second look
            memory, pattern = rename_source_key(name, [], [], prefix, state)
        if memory not in state:
            unread[name] = memory
        elif pattern is None:
            if memory in stored:
                raise CheckpointError(f"{ref} holds {memory} as {stored[memory]} and as {name}: keep one of them")
            stored[memory] = name
        else:
            taken.setdefault(memory, []).append((name, pattern))
    assemblies = tuple(
        Assembly(
            first,
            parts=tuple(name for name, _ in parts),
            patterns=tuple(pattern for _, pattern in parts),
            converter=converters[parts[0][1]],
            model=model,
        )
        for first, parts in taken.items()
    )
    for assembly in assemblies:
        stored |= dict(zip(assembly.names, assembly.parts, strict=True))
    return stored, assemblies, unread


def _load_on_meta(model: Any, shapes: Mapping[str, Sequence[int]]) -> tuple[set[str], dict[str, Shapes], set[str]]:
    """Load tensors without values, so that the loader says what it lacks; ties the model's parameters.

    Args:
        model: without values.
        shapes: of the tensors on disk.

    Returns:
        (parameters that nothing fills, parameters of another shape, new names of tensors that the loader warns of).
    """
    mapping: Any = get_model_conversion_mapping(model)
    dtype = next(iter(model.parameters())).dtype
    tensors = {name: torch.empty(tuple(shape), dtype=dtype, device=META) for name, shape in shapes.items()}
    config = LoadStateDictConfig(
        device_map={"": META}, dtype=dtype, weight_mapping=mapping, ignore_mismatched_sizes=True
    )
    with quiet():
        info, _ = convert_and_load_state_dict_in_model(model, tensors, config)
        model.tie_weights(missing_keys=info.missing_keys, recompute_mapping=False)
        model._adjust_missing_and_unexpected_keys(info)
    reshaped = {name: (tuple(shape), tuple(asked)) for name, shape, asked in info.mismatched_keys}
    return set(info.missing_keys), reshaped, set(info.unexpected_keys)


def _ties(
    model: Any, stored: Mapping[str, str], equal: Callable[[str, str], bool]
) -> tuple[dict[str, str], dict[str, str]]:
    """(tied parameter -> the one that is read, copy on disk -> tensor on disk that it repeats)."""
    tied: dict[str, str] = {}
    copies: dict[str, str] = {}
    for target, source in model.all_tied_weights_keys.items():
        if target in stored and source in stored:
            if equal(stored[target], stored[source]):
                tied[target], copies[stored[target]] = source, stored[source]
        elif source in stored:
            tied[target] = source
        elif target in stored:
            tied[source] = target
    return tied, copies


def text_names(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Of a model's names in memory those of its text model -> the name there, the same in a wrapper and alone."""
    paths = {id(module): name for name, module in reversed(list(model.named_modules()))}
    decoder, head = decoder_of(model), model.get_output_embeddings()
    places = {paths[id(decoder)]: DECODER}
    if head is not None:
        places[paths[id(head)]] = HEAD
    wrapped = model.config.get_text_config() is not model.config
    text = {}
    for name in names:
        place = next((path for path in places if name.startswith(f"{path}.")), None)
        if place is not None:
            text[name] = places[place] + name.removeprefix(place)
        elif not wrapped:
            text[name] = name
    return text
