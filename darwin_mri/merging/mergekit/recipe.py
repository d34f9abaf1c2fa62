"""Reading mergekit's YAML: the parents it names and where each parameter may stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.files import read_text
from darwin_mri.merging.settings import NEEDS_BASE

IGNORED = {"int8_mask"}  # changes memory, not the result
KNOWN = {"weight", "density", "epsilon", "t", "normalize", "rescale", "lambda", *IGNORED}
TOP = {"merge_method", "base_model", "models", "slices", "parameters", "name", "dtype", "out_dtype"}
TOP |= {"tokenizer_source", "tokenizer", "chat_template"}
Entry = tuple[int | None, Mapping[str, Any]]
"""A slice, None for all of them, and the parameters that hold in it."""


@dataclass(frozen=True)
class Recipe:
    """A mergekit recipe whose parents are known.

    Attributes:
        where: the file's name, for messages.
        method: an operator's name.
        father: the father as the recipe names it.
        mother: the other parent as the recipe names it.
        base: the base as the recipe names it, or None.
        sources: role (father, mother, shared) -> its entries, most specific first.
        slices: (first layer, number of layers) that the recipe cuts the model into; empty where it does not.
        dtype: of the child, as the recipe names it, or None.
    """

    where: str
    method: str
    father: str
    mother: str
    base: str | None
    sources: dict[str, list[Entry]]
    slices: tuple[tuple[int, int], ...]
    dtype: str | None


def read_recipe(path: Path) -> Recipe:
    """Read mergekit's YAML.

    Raises:
        ConfigError: not YAML, a method or option that is not supported, or another number of parents than two.
    """
    try:
        data = yaml.safe_load(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"mergekit recipe {path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"mergekit recipe {path} cannot be read as YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"mergekit recipe {path} must hold a mapping with merge_method and models")
    where, method = path.name, str(data.get("merge_method"))
    if method not in OPERATORS:
        raise ConfigError(f"{where}: merge_method {method} is not known here: choose one of {', '.join(OPERATORS)}")
    _refuse_options(data, where)
    inputs, slices = _inputs(data, where)
    father, mother, base = _roles(method, [name for name in inputs if name], data.get("base_model"), where)
    shared = [*inputs.pop("", []), (None, _parameters(data, where))]
    sources = {
        "father": [*inputs[father], *shared] if father in inputs else shared,
        "mother": [*inputs[mother], *shared],
    }
    dtype = data.get("out_dtype") or data.get("dtype")
    dtype = None if dtype is None else str(dtype)
    return Recipe(where, method, father, mother, base, {**sources, "shared": shared}, slices, dtype)


def _refuse_options(data: dict[str, Any], where: str) -> None:
    unknown = sorted(map(str, set(data) - TOP))
    if unknown:
        raise ConfigError(f"{where}: '{unknown[0]}' is not supported here: use models or slices with two parents")
    if data.get("tokenizer") or data.get("tokenizer_source") not in (None, "base"):
        raise ConfigError(f"{where}: the child keeps the father's tokenizer: leave out tokenizer and tokenizer_source")
    if data.get("chat_template") not in (None, "auto"):
        raise ConfigError(f"{where}: the child keeps the father's chat template: leave out chat_template")


def _parameters(part: Any, where: str) -> dict[str, Any]:
    parameters = part.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ConfigError(f"{where}: parameters must be a mapping")
    unknown = sorted(map(str, set(parameters) - KNOWN))
    if unknown:
        raise ConfigError(
            f"{where}: parameter '{unknown[0]}' is not supported here (known: {', '.join(sorted(KNOWN))})"
        )
    return parameters


def _inputs(data: dict[str, Any], where: str) -> tuple[dict[str, list[Entry]], tuple[tuple[int, int], ...]]:
    """Model -> its entries, in order, with "" for what slices set for all of their models; and the slices."""
    if bool(data.get("models")) == bool(data.get("slices")):
        raise ConfigError(f"{where}: give either models or slices")
    entries: dict[str, list[Entry]] = {}
    slices: list[tuple[int, int]] = []
    every: dict[str, set[str]] = {}
    try:
        for model in data.get("models") or []:
            if str(model["model"]) in entries:
                raise ConfigError(f"{where}: model {model['model']} is listed twice: give it one weight")
            entries[str(model["model"])] = [(None, _parameters(model, where))]
        for number, part in enumerate(data.get("slices") or []):
            ranges = {(int(source["layer_range"][0]), int(source["layer_range"][1])) for source in part["sources"]}
            first, last = min(ranges)
            if len(ranges) != 1 or first != sum(count for _, count in slices):
                raise ConfigError(
                    f"{where}: slices must keep every layer at its place: stacks of layers are not built here"
                )
            slices.append((first, last - first))
            models = {str(source["model"]) for source in part["sources"]}
            if len(models) < len(part["sources"]) or models != every.setdefault("models", models):
                raise ConfigError(f"{where}: every slice must name the same models, each once")
            for source in part["sources"]:
                entries.setdefault(str(source["model"]), []).append((number, _parameters(source, where)))
            entries.setdefault("", []).append((number, _parameters(part, where)))
    except (KeyError, TypeError, ValueError, IndexError):
        raise ConfigError(
            f"{where}: models and slices must name their model (and layer_range) as mergekit does"
        ) from None
    return entries, tuple(slices)


def _roles(method: str, inputs: Sequence[str], base: Any, where: str) -> tuple[str, str, str | None]:
    """(father, mother, base): the order of the inputs decides; slerp's base is the father."""
    models = list(dict.fromkeys(name for name in inputs if name))
    base = None if base is None else str(base)
    if method == "linear":
        models, base = models, None
    elif base is None:
        raise ConfigError(f"{where}: {method} needs base_model")
    elif method == "slerp":
        models, base = [base, *(model for model in models if model != base)], None
    else:
        models = [model for model in models if model != base]
        if len(models) == 1:  # one model beside its base: the base is the father
            models, base = [base, *models], base if method in NEEDS_BASE else None
    if len(models) != 2:
        raise ConfigError(f"{where}: {len(models)} models beside the base: two parents are merged here")
    return models[0], models[1], base
