"""What mergekit's parameters mean for each tensor: its ratio and settings.

A parameter is a scalar, a list of numbers interpolated over the layers, or a list of (filter, value), of which the
first counts whose filter is part of the tensor's name. A model's own parameters come before its slice's, those before
the recipe's, as mergekit documents it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from darwin_mri.checkpoints.survey import LAYER, Survey
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.recipe import Recipe
from darwin_mri.quantities import quantity_fault

NORMALIZED = {"linear": True, "ties": True, "della": True}  # mergekit's default of ``normalize``; False elsewhere
RESCALED = {"dare_linear": True, "dare_ties": True, "della": True}  # of ``rescale``
ADDING = ("task_arithmetic", "dare_linear")  # task vectors are added up, without an election
NO_SUM = 1e-8  # weights whose sum is nearer to 0 are not normalized; mergekit's limit
Values = dict[str, float | str]
"""One tensor's ratio and settings, as ``Settings`` and genomes name them."""


def tensor_values(recipe: Recipe, father: Survey, names: Iterable[str]) -> dict[str, Values]:
    """Resolve a recipe's parameters tensor by tensor.

    Args:
        recipe: the recipe.
        father: the father's survey.
        names: of tensors on the father's disk.

    Returns:
        Name -> the tensor's ratio and settings.

    Raises:
        ConfigError: a parameter is missing or has a value it cannot have, weights sum to 0, or slices leave layers out;
            named as in the recipe.
    """
    layers = _layer_counts(father.tensors)
    depth = len(father.anatomy.layers)
    if recipe.slices and sum(count for _, count in recipe.slices) != depth:
        covered = sum(count for _, count in recipe.slices)
        raise ConfigError(f"{recipe.where}: its slices hold {covered} layers, the father {depth}: keep every layer")
    return {name: _values(recipe, name, layers) for name in names}


def genome_fields(recipe: Recipe, values: Mapping[str, Values]) -> dict[str, Any]:
    """Fields of a genome record that say the same as a recipe.

    What most tensors have is common, the rest are exceptions by name.
    """
    most = Counter(tuple(sorted(own.items())) for own in values.values()).most_common(1)[0][0]
    common = dict(most)
    exceptions = {
        name: {key: value for key, value in own.items() if common.get(key) != value}
        for name, own in values.items()
        if own != common
    }
    ratio = float(common.pop("ratio"))
    return {
        "space": "layers",
        "method": recipe.method,
        "genes": {"all": ratio},
        "tensors": {"all": tuple(sorted(values))},
        "settings": common,
        "exceptions": exceptions,
    }


def _values(recipe: Recipe, name: str, layers: Mapping[str, int]) -> Values:
    """One tensor's ratio and settings."""
    method = recipe.method
    look_up = _Parameters(recipe, name, layers)
    if method == "slerp":
        return {"ratio": look_up.number("shared", "t")}
    # Whether the father is the base, or stands for it: then it has no task vector.
    alone = recipe.base == recipe.father or (recipe.base is None and method != "linear")
    weights = [0.0 if role == "father" and alone else look_up.number(role, "weight") for role in ("father", "mother")]
    normalize = look_up.flag("normalize", NORMALIZED.get(method, False))
    if method == "linear":
        if not normalize and abs(sum(weights) - 1) > 1e-6:
            raise ConfigError(
                f"{recipe.where}: each tensor's weights must sum to 1, or normalize be true ({weights} for {name})"
            )
        if abs(sum(weights)) < NO_SUM:
            raise ConfigError(f"{recipe.where}: the weights of tensor {name} sum to 0: give them another sum")
        return {"ratio": weights[1] / sum(weights)}
    own: Values = {"scale": look_up.number("shared", "lambda", 1.0)}
    own |= _weighing(method, weights, alone, normalize)
    if recipe.base is None and method in ADDING:
        own["ratio"] = float(own["ratio"]) * float(own.pop("scale"))
    return own | _dropping(recipe, look_up, alone)


def _weighing(method: str, weights: Sequence[float], alone: bool, normalize: bool) -> Values:
    """The parents' weights in the methods with task vectors, and how an election divides by them."""
    if method in ADDING:
        divisor = sum(weights) if normalize and abs(sum(weights)) >= NO_SUM else 1.0
        return {"ratio": weights[1] / divisor, "weight_father": 1.0 if alone else weights[0] / divisor}
    return {
        "ratio": weights[1],
        "weight_father": 1.0 if alone else weights[0],
        "divide": "weights" if normalize else "none",
    }


def _dropping(recipe: Recipe, look_up: _Parameters, alone: bool) -> Values:
    """What is kept of each task vector in the methods that drop, and how that is made up for."""
    method = recipe.method
    own: Values = {}
    if method != "task_arithmetic":
        own["density"] = look_up.number("mother", "density", 1.0)
        own["density_father"] = 1.0 if alone else look_up.number("father", "density", 1.0)
    rescale = look_up.flag("rescale", RESCALED.get(method, False))
    if method in ("task_arithmetic", "ties") and rescale:
        raise ConfigError(f"{recipe.where}: rescale is for methods that drop at random: leave it out of {method}")
    if method in RESCALED:
        own["rescale"] = "l1" if rescale else "none"
    if method == "della":  # the whole width of the window; mergekit's is half of it
        own["epsilon"] = 2 * look_up.number("mother", "epsilon", 0.15)
    return own


class _Parameters:
    """One tensor's parameters, looked up in a recipe's entries."""

    def __init__(self, recipe: Recipe, name: str, layers: Mapping[str, int]) -> None:
        self._recipe, self._name = recipe, name
        self._slice, self._depth = _place(name, recipe.slices, layers)

    def number(self, role: str, key: str, default: float | None = None) -> float:
        """A number for a role; raises ConfigError where it cannot be, or is missing and has no default."""
        value = self._find(role, key)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"{self._recipe.where}: parameter '{key}' is missing for tensor {self._name}")
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            self._refuse(f"{key} {value!r} is no number, or no list of numbers or filters")
        if fault := quantity_fault(key, number):
            self._refuse(fault)
        return number

    def flag(self, key: str, default: bool) -> bool:
        """Whether a parameter that all models share is set."""
        value = self._find("shared", key)
        if not isinstance(value, int | float | None):
            self._refuse(f"{key} {value!r} must be true or false")
        return default if value is None else bool(value)

    def _find(self, role: str, key: str) -> Any:
        """The first value that the recipe has for a role; None where it has none."""
        for number, parameters in self._recipe.sources[role]:
            if number in (None, self._slice):
                try:
                    value = _evaluate(parameters.get(key), self._name, self._depth)
                except (TypeError, ValueError, OverflowError, RecursionError):
                    self._refuse(f"{key} is no number, or no list of numbers or filters")
                if value is not None:
                    return value
        return None

    def _refuse(self, fault: str) -> NoReturn:
        raise ConfigError(f"{self._recipe.where}: {fault} (tensor {self._name})") from None


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
        pattern = entry.get("filter") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and (pattern is None or pattern == "*" or str(pattern) in name):
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
    """The slice a tensor lies in, and its layer's depth in it, 0 to 1.

    What belongs to no layer has depth 0: embeddings in the first slice, the rest in the last.
    """
    match = LAYER.match(name)
    if not match:
        return (0 if "embed" in name else max(len(slices) - 1, 0)), 0.0
    index = int(match["index"])
    parts = slices or [(0, layers[match["prefix"]])]
    number = next((n for n, (first, count) in enumerate(parts) if first <= index < first + count), len(parts) - 1)
    first, count = parts[number]
    return number, (index - first) / (count - 1) if count > 1 else 1.0
