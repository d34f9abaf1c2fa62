"""Reading mergekit's YAML.

What a parameter resolves to follows mergekit's documentation: a scalar, a list of
numbers interpolated over the layers, or a list of (filter, value) of which the first whose filter is part of the tensor's
name counts; a model's own parameters come before its slice's, those before the recipe's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.checkpoints.survey import LAYER, Survey
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging.settings import NEEDS_BASE

NORMALIZED = {"linear": True, "ties": True, "della": True}  # mergekit's default of ``normalize``; False elsewhere
RESCALED = {"dare_linear": True, "dare_ties": True, "della": True}  # of ``rescale``
IGNORED = {"int8_mask"}  # changes memory, not the result
KNOWN = {"weight", "density", "epsilon", "t", "normalize", "rescale", "lambda", *IGNORED}
TOP = {
    "merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "tokenizer_source", "tokenizer",
    "chat_template", "name",
}  # fmt: skip
Values = dict[str, float | str]
Entry = tuple[int | None, Mapping[str, Any]]


@dataclass(frozen=True)
class Recipe:
    """A mergekit recipe whose parents are known.

    ``sources[role]`` are (slice, parameters) entries, most specific first; slice None holds everywhere. ``slices`` are the (first
    layer, number of layers) that the recipe cuts the model into, empty where it does not.
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
        ConfigError: not YAML, a method or option that cannot be honoured here, or another number of parents than two.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    found = part.get("parameters") or {}
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: parameters must be a mapping")
    unknown = sorted(map(str, set(found) - KNOWN))
    if unknown:
        raise ConfigError(
            f"{where}: parameter '{unknown[0]}' is not supported here (known: {', '.join(sorted(KNOWN))})"
        )
    return found


def _inputs(data: dict[str, Any], where: str) -> tuple[dict[str, list[Entry]], tuple[tuple[int, int], ...]]:
    """Model -> its entries, in order, with "" for what slices set for all of their models; and the slices."""
    if bool(data.get("models")) == bool(data.get("slices")):
        raise ConfigError(f"{where}: give either models or slices")
    found: dict[str, list[Entry]] = {}
    slices: list[tuple[int, int]] = []
    every: dict[str, set[str]] = {}
    try:
        for model in data.get("models") or []:
            if str(model["model"]) in found:
                raise ConfigError(f"{where}: model {model['model']} is listed twice: give it one weight")
            found[str(model["model"])] = [(None, _parameters(model, where))]
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
                found.setdefault(str(source["model"]), []).append((number, _parameters(source, where)))
            found.setdefault("", []).append((number, _parameters(part, where)))
    except (KeyError, TypeError, ValueError, IndexError):
        raise ConfigError(
            f"{where}: models and slices must name their model (and layer_range) as mergekit does"
        ) from None
    return found, tuple(slices)


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


def tensor_values(recipe: Recipe, father: Survey, names: Iterable[str]) -> dict[str, Values]:
    """For each tensor its ratio and settings, as ``Settings`` and genomes know them."""
    layers = _layer_counts(father.tensors)
    depth = father.text_config.get("num_hidden_layers")
    if recipe.slices and isinstance(depth, int) and sum(count for _, count in recipe.slices) != depth:
        covered = sum(count for _, count in recipe.slices)
        raise ConfigError(f"{recipe.where}: its slices hold {covered} layers, the father {depth}: keep every layer")
    try:
        return {name: _values(recipe, name, layers) for name in names}
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ConfigError(f"{recipe.where}: a parameter is no number, or no list of numbers or filters") from None
    except ZeroDivisionError:
        raise ConfigError(
            f"{recipe.where}: the weights of a tensor sum to 0: give at least one of them weight"
        ) from None


def genome_fields(recipe: Recipe, values: Mapping[str, Values]) -> dict[str, Any]:
    """Fields of a genome record that say the same: what most tensors have is common, the rest are exceptions by name."""
    most = Counter(tuple(sorted(own.items())) for own in values.values()).most_common(1)[0][0]
    common = dict(most)
    exceptions = {
        name: {key: value for key, value in own.items() if common.get(key) != value}
        for name, own in values.items()
        if own != common
    }
    numbers = [value for own in values.values() for value in own.values() if isinstance(value, float)]
    if not all(map(math.isfinite, numbers)):
        raise ConfigError(f"{recipe.where}: a parameter is not a finite number")
    ratio = float(common.pop("ratio"))
    return {
        "space": "layers", "method": recipe.method, "genes": {"all": ratio}, "tensors": {"all": tuple(sorted(values))},
        "settings": common, "exceptions": exceptions,
    }  # fmt: skip


def _values(recipe: Recipe, name: str, layers: Mapping[str, int]) -> Values:
    method = recipe.method

    part, depth = _place(name, recipe.slices, layers)

    def ask(role: str, key: str, default: Any) -> Any:
        for number, parameters in recipe.sources[role]:
            found = _evaluate(parameters.get(key), name, depth) if number in (None, part) else None
            if found is not None:
                return found
        if default is None:
            raise ConfigError(f"{recipe.where}: parameter '{key}' is missing for tensor {name}")
        return default

    if method == "slerp":
        return {"ratio": float(ask("shared", "t", None))}
    alone = recipe.base == recipe.father or (recipe.base is None and method != "linear")
    weights = [0.0 if role == "father" and alone else float(ask(role, "weight", None)) for role in ("father", "mother")]
    normalize = bool(ask("shared", "normalize", NORMALIZED.get(method, False)))
    if method == "linear":
        if not normalize and abs(sum(weights) - 1) > 1e-6:
            raise ConfigError(f"{recipe.where}: linear weights must sum to 1, or be normalized ({weights} for {name})")
        return {"ratio": weights[1] / sum(weights)}
    own: Values = {"scale": float(ask("shared", "lambda", 1.0))}
    if method in ("task_arithmetic", "dare_linear"):
        divisor = sum(weights) if normalize and sum(weights) else 1.0
        own |= {"ratio": weights[1] / divisor, "weight_father": 1.0 if alone else weights[0] / divisor}
        if recipe.base is None:
            own["ratio"] = float(own["ratio"]) * float(own.pop("scale"))
    else:
        own |= {
            "ratio": weights[1],
            "weight_father": 1.0 if alone else weights[0],
            "divide": "weights" if normalize else "none",
        }
    if method != "task_arithmetic":
        own |= {
            "density": float(ask("mother", "density", 1.0)),
            "density_father": 1.0 if alone else float(ask("father", "density", 1.0)),
        }
    rescale = bool(ask("shared", "rescale", RESCALED.get(method, False)))
    if method in ("task_arithmetic", "ties") and rescale:
        raise ConfigError(f"{recipe.where}: rescale is for methods that drop at random: leave it out of {method}")
    if method in RESCALED:
        own["rescale"] = "l1" if rescale else "none"
    if method == "della":  # the window's whole width here, half of it there
        own["epsilon"] = 2 * float(ask("mother", "epsilon", 0.15))
    return own


def _evaluate(setting: Any, name: str, depth: float) -> Any:
    """A parameter's value for a tensor at a depth in [0, 1]; None where no filter fits."""
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return setting
    if all(not isinstance(entry, dict) for entry in setting):
        if not setting:
            return None
        place = depth * (len(setting) - 1)
        low = min(int(place), len(setting) - 1)
        high = min(low + 1, len(setting) - 1)
        return (1 - (place - low)) * float(setting[low]) + (place - low) * float(setting[high])
    for entry in setting:
        wanted = entry.get("filter") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and (wanted is None or wanted == "*" or str(wanted) in name):
            return _evaluate(entry.get("value"), name, depth)
    return None


def _layer_counts(names: Iterable[str]) -> dict[str, int]:
    """Layer list's prefix -> number of layers."""
    counts: dict[str, int] = {}
    for name in names:
        if match := LAYER.match(name):
            counts[match["prefix"]] = max(counts.get(match["prefix"], 0), int(match["index"]) + 1)
    return counts


def _place(name: str, slices: Sequence[tuple[int, int]], layers: Mapping[str, int]) -> tuple[int, float]:
    """The slice a tensor lies in and its layer's depth there, 0 to 1; what belongs to no layer lies at 0, embeddings in the first
    slice and the rest in the last."""
    match = LAYER.match(name)
    if not match:
        return (0 if "embed" in name else max(len(slices) - 1, 0)), 0.0
    index = int(match["index"])
    parts = slices or [(0, layers[match["prefix"]])]
    number = next((n for n, (first, count) in enumerate(parts) if first <= index < first + count), len(parts) - 1)
    first, count = parts[number]
    return number, (index - first) / (count - 1) if count > 1 else 1.0
