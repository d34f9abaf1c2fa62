"""What mergekit's parameters mean for each tensor: its ratios and settings.

A parameter is a scalar, a list of numbers interpolated over the layers, or a list of (filter, value), of which the
first counts whose filter is part of the tensor's name. A model's own parameters come before its slice's, those before
the recipe's, as mergekit documents it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from darwin_mri.checkpoints.survey import LAYER
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.document import Document
from darwin_mri.merging.mergekit.roles import Input, Roles
from darwin_mri.merging.mergekit.rules import RULES, Setting
from darwin_mri.merging.methods import METHODS
from darwin_mri.quantities import KINDS, quantity_fault
from darwin_mri.records.roles import PARENTS

SHARED = ("nuslerp", "multislerp", "karcher")  # the parents' weights are shares of the whole
ADDING = ("task_arithmetic", "dare_linear")  # task vectors are added up, without an election
DROPPING = ("dare_linear", "dare_ties", "della", "della_linear", "breadcrumbs", "breadcrumbs_ties")
NO_SUM = 1e-8  # weights whose sum is nearer to 0 are not normalized; mergekit's limit
Values = dict[str, float | str]
"""One tensor's ratios and settings, as ``Settings`` and genomes name them; ``ratio@parent3`` with several parents."""


def tensor_values(document: Document, roles: Roles, names: Sequence[str]) -> dict[str, Values]:
    """Resolve a recipe's parameters tensor by tensor.

    Args:
        document: the recipe.
        roles: of its models.
        names: of tensors on the father's disk, all of its layers among them.

    Returns:
        Name -> the tensor's ratios and settings.

    Raises:
        ConfigError: a parameter is missing or has a value it cannot have, or weights sum to 0; named as in the recipe.
    """
    layers = _layer_counts(names)
    return {name: _Tensor(document, roles, name, layers).values() for name in names}


def genome_fields(method: str, roles: Sequence[str], values: Mapping[str, Values]) -> dict[str, Any]:
    """Fields of a genome record that say the same as a recipe.

    What most tensors have is common, the rest are exceptions by name.

    Args:
        method: the recipe's.
        roles: of the other parents; one of them has the gene ``all``, several have a gene each.
        values: by tensor.

    Returns:
        The fields.
    """
    most = Counter(tuple(sorted(own.items())) for own in values.values()).most_common(1)[0][0]
    common = dict(most)
    exceptions = {name: _difference(own, common) for name, own in values.items() if own != common}
    tensors = tuple(sorted(values))
    if len(roles) == 1:
        genes, parents = {"all": float(common.pop("ratio"))}, {}
    else:
        genes = {role: float(common.pop(f"ratio@{role}")) for role in roles}
        parents = {role: role for role in roles}
    return {
        "space": "layers",
        "method": method,
        "genes": genes,
        "gene_parents": parents,
        "tensors": dict.fromkeys(genes, tensors),
        "settings": common,
        "exceptions": exceptions,
    }


def _difference(own: Values, common: Mapping[str, float | str]) -> Values:
    """What differs; with a setting of all parents those of single ones too, as it replaces them."""
    changed = {key for key, value in own.items() if common.get(key) != value}
    return {key: value for key, value in own.items() if key in changed or key.partition("@")[0] in changed}


def scale_factors(document: Document, roles: Roles, names: Sequence[str]) -> dict[str, float]:
    """The factors that a passthrough recipe gives tensors.

    Args:
        document: the recipe.
        roles: of its models.
        names: of the stack's tensors.

    Returns:
        Name -> factor, where that is not 1.

    Raises:
        ConfigError: a factor is no number.
    """
    layers = _layer_counts(names)
    factors = {name: _Tensor(document, roles, name, layers).scale() for name in names}
    return {name: factor for name, factor in factors.items() if factor != 1.0}


class _Tensor:
    """One tensor's parameters, looked up in a recipe's entries."""

    def __init__(self, document: Document, roles: Roles, name: str, layers: Mapping[str, int]) -> None:
        self._document, self._roles, self._name = document, roles, name
        self._slice, self._depth, self._offset = _place(name, document, layers)

    def values(self) -> Values:
        """Ratios and settings."""
        document, method = self._document, self._document.method
        rule = RULES[method]
        own: Values = {}
        for setting in rule.settings:
            own |= self._setting(setting)
        if method == "slerp":
            return own
        weights = self._weights()
        if rule.normalized is not None and self._flag("normalize", rule.normalized):
            weights = self._normalized(weights)
        elif method == "linear":
            self._refuse_other_sum(weights)
        elif method in SHARED:
            weights = self._shares(weights, own)
        own |= self._ratios(weights)
        if method == "linear" or method in SHARED:
            return own
        if method in ("task_arithmetic", "ties") and self._flag("rescale", False):
            raise ConfigError(f"{document.where}: rescale is for methods that drop at random: leave it out of {method}")
        if rule.weighted:
            own["weight_father"] = self._weight_father(weights)
        if method in ADDING and self._roles.base is None:
            own["ratio"] = float(own["ratio"]) * float(own.pop("scale"))
        return own

    def scale(self) -> float:
        """The factor of a tensor that is passed through."""
        return self._own_number(self._roles.parents[0], "scale", "scale", 1.0)

    @property
    def _alone(self) -> bool:
        """Whether the father is the base, or stands for it: then it has no task vector."""
        return self._roles.father_is_base or (self._roles.base is None and self._document.method in ADDING)

    def _weights(self) -> list[float]:
        """Of each parent, the father's first."""
        if not RULES[self._document.method].weighted:
            return [1.0] * len(self._roles.parents)
        parents = self._roles.parents
        return [
            0.0 if self._alone and parent is parents[0] else self._own_number(parent, "weight", "weight", None)
            for parent in parents
        ]

    def _weight_father(self, weights: Sequence[float]) -> float:
        if not self._alone:
            return weights[0]
        return 0.0 if self._document.method in METHODS else 1.0

    def _normalized(self, weights: Sequence[float]) -> list[float]:
        total = sum(weights)
        if abs(total) < NO_SUM:
            if self._document.method == "linear":
                raise ConfigError(
                    f"{self._document.where}: the weights of tensor {self._name} sum to 0: give them another sum"
                )
            return list(weights)
        return [weight / total for weight in weights]

    def _shares(self, weights: Sequence[float], own: Mapping[str, float | str]) -> list[float]:
        """Weights as shares of the whole, which the ratios are; equal ones where they sum to 0, as nuslerp has it."""
        if own.get("normalize", True):
            return self._normalized(weights) if abs(sum(weights)) >= NO_SUM else [1 / len(weights)] * len(weights)
        self._refuse_other_sum(weights)
        return list(weights)

    def _refuse_other_sum(self, weights: Sequence[float]) -> None:
        if abs(sum(weights) - 1) > 1e-6:
            raise ConfigError(
                f"{self._document.where}: each tensor's weights must sum to 1, or normalize be true"
                f" ({list(weights)} for {self._name})"
            )

    def _ratios(self, weights: Sequence[float]) -> Values:
        if len(weights) == 2:
            return {"ratio": weights[1]}
        own: Values = {f"ratio@{role}": weight for role, weight in zip(PARENTS[1:], weights[1:], strict=False)}
        return own

    def _setting(self, setting: Setting) -> Values:
        """What a setting is for this tensor: one value, or one for each parent that has a task vector."""
        if setting.kind in ("flag", "words"):
            if not setting.recipe:
                return {setting.name: self._default(setting)}
            default = setting.default == setting.words[0] if setting.kind == "words" else bool(setting.default)
            chosen = self._flag(setting.recipe, default)
            return {setting.name: setting.words[0 if chosen else 1] if setting.kind == "words" else chosen}
        if not setting.per_parent:
            return {setting.name: self._one(setting, None)}
        father, *others = self._roles.parents
        named_others = list(zip(PARENTS[1:], others, strict=False))
        named: Values = {f"{setting.name}@{role}": self._one(setting, one) for role, one in named_others}
        fathers = None if self._alone else self._one(setting, father)
        apart = setting.name == "density"  # the father's has a name of its own; of other settings it is the common one
        if len(others) == 1 and (apart or fathers is None):
            named = {setting.name: named.popitem()[1]}
        if apart:
            named["density_father"] = 1.0 if fathers is None else fathers
        elif fathers is not None:
            named[setting.name] = fathers
        return named

    def _one(self, setting: Setting, parent: Input | None) -> float:
        if not setting.recipe:
            return self._default(setting)
        half = setting.kind == "half"
        default = None if setting.default is None else float(setting.default) / (2 if half else 1)
        number = self._own_number(parent, setting.recipe, setting.name, default)
        return 2 * number if half else number

    def _default(self, setting: Setting) -> Any:
        return setting.default

    def _own_number(self, parent: Input | None, key: str, name: str, default: float | None) -> float:
        """A number of a parent, or of all; raises ConfigError where it cannot be, or is missing without a default."""
        value = self._find(parent, key)
        if value is None:
            value = default
        if value is None:
            raise ConfigError(f"{self._document.where}: parameter '{key}' is missing for tensor {self._name}")
        return _number(key, name, value, self._document.where, self._name, self._document.method)

    def _flag(self, key: str, default: bool) -> bool:
        """Whether a parameter that all models share is set."""
        value = self._find(None, key)
        if not isinstance(value, int | float | None):
            _refuse(self._document.where, f"{key} {value!r} must be true or false", self._name)
        return default if value is None else bool(value)

    def _find(self, parent: Input | None, key: str) -> Any:
        """The first value that the recipe has, for a parent or for all; None where it has none."""
        for name, parameters in self._entries(parent):
            value = _evaluate_or_refuse(parameters.get(key), name, self._depth, self._document.where, key)
            if value is not None:
                return value
        return None

    def _entries(self, parent: Input | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(the tensor's name there, parameters), the most specific first. Filters fit a model's own names."""
        own = self._name if parent is None else self._name_in(parent)
        if parent is not None:
            yield own, parent.parts[self._slice].parameters
        yield own, self._document.slices[self._slice].parameters
        yield own, self._document.parameters

    def _name_in(self, parent: Input) -> str:
        """The tensor's name in a model that gives it to a stack."""
        layers, match = parent.parts[self._slice].layers, LAYER.match(self._name)
        if layers is None or match is None:
            return self._name
        index = layers[0] + int(match["index"]) - self._offset
        return f"{match['prefix']}.{index}.{match['rest']}"


def _number(key: str, name: str, value: Any, where: str, tensor: str, method: str = "") -> float:
    """A value as a number that the quantity can be."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        _refuse(where, f"{key} {value!r} is no number, or no list of numbers or filters", tensor)
    parameters = METHODS[method].parameters if method in METHODS else ()
    own = next((parameter for parameter in parameters if parameter.name == name), None)
    if own is not None and isinstance(own.default, int) and number.is_integer():
        number = int(number)
    if own is not None:
        fault = own.fault(number)
    elif key in KINDS:
        fault = quantity_fault(key, number)
    else:
        fault = "" if math.isfinite(number) else f"{key} {number} must be a finite number"
    if fault:
        _refuse(where, fault, tensor)
    return number


def _refuse(where: str, fault: str, tensor: str) -> NoReturn:
    raise ConfigError(f"{where}: {fault} (tensor {tensor})") from None


def _evaluate_or_refuse(setting: Any, name: str, depth: float, where: str, key: str) -> Any:
    try:
        return _evaluate(setting, name, depth)
    except (TypeError, ValueError, OverflowError, RecursionError):
        _refuse(where, f"{key} is no number, or no list of numbers or filters", name)


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
        if any(isinstance(entry, bool) for entry in setting):
            return setting[int(place)]
        low = min(int(place), len(setting) - 1)
        high = min(low + 1, len(setting) - 1)
        return (1 - (place - low)) * float(setting[low]) + (place - low) * float(setting[high])
    for entry in setting:
        if not isinstance(entry, dict) or set(entry) - {"filter", "value"}:
            raise ValueError("an entry is a value with a filter, or without")
        pattern = entry.get("filter")
        if pattern is None or pattern == "*" or str(pattern) in name:
            return _evaluate(entry.get("value"), name, depth)
    return None


def _layer_counts(names: Iterable[str]) -> dict[str, int]:
    """Layer list's prefix -> number of layers."""
    counts: dict[str, int] = {}
    for name in names:
        if match := LAYER.match(name):
            counts[match["prefix"]] = max(counts.get(match["prefix"], 0), int(match["index"]) + 1)
    return counts


def _place(name: str, document: Document, layers: Mapping[str, int]) -> tuple[int, float, int]:
    """The slice a tensor lies in, its layer's depth in it from 0 to 1, and the slice's first layer.

    What belongs to no layer has depth 0: embeddings in the first slice, the rest in the last.
    """
    match = LAYER.match(name)
    if not match:
        return (0 if "embed" in name else len(document.slices) - 1), 0.0, 0
    index, first = int(match["index"]), 0
    counts = [part.sources[0].count for part in document.slices] if not document.whole else [layers[match["prefix"]]]
    for number, count in enumerate(counts):
        if index < first + count or number == len(counts) - 1:
            return number, min((index - first) / (count - 1), 1.0) if count > 1 else 1.0, first
        first += count
    return len(counts) - 1, 1.0, first
