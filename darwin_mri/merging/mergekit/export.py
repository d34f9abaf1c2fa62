"""Writing a genome as mergekit's YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.values import RESCALED, Values
from darwin_mri.merging.settings import NEEDS_BASE


def write_recipe(
    method: str, parents: Mapping[str, str | None], father: Survey, values: Mapping[str, Values], dtype: str
) -> tuple[str, tuple[str, ...]]:
    """A genome as mergekit's YAML.

    Args:
        method: the genome's.
        parents: role (father, mother, base) -> the model as a user would write it.
        father: the father's survey; filters must single out the right ones among its tensors.
        values: tensor on the father's disk -> its ratio and settings; what is absent stays the father's.
        dtype: of the father's weights, e.g. bfloat16.

    Returns:
        The text, and sentences on where mergekit's child will differ from ours.

    Raises:
        ConfigError: mergekit has no such method.
    """
    if method not in OPERATORS:
        raise ConfigError(
            f"mergekit has no cross-architecture arm {method}: only same-architecture genomes can be exported"
        )
    export = _Export(method, father, values)
    match method:
        case "linear":
            export.weigh_parents()
        case "slerp":
            export.turn()
        case _:
            export.add_task_vectors()
    data: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": dtype}
    if method == "slerp":
        data["base_model"] = parents["father"]
    elif method != "linear":
        data["base_model"] = parents["base"] or parents["father"]
    models = [(parents["father"], export.father_own), (parents["mother"], export.mother_own)]
    if method not in ("linear", "slerp") and parents["base"] is None:
        models = models[1:]
    data["models"] = [{"model": name, **({"parameters": own} if own else {})} for name, own in models]
    if export.shared:
        data["parameters"] = export.shared
    notes = (*export.notes, *export.uneven_rules())
    head = "# Written by darwin_mri. " + "; ".join(notes) + "\n" if notes else "# Written by darwin_mri.\n"
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), notes


class _Export:
    """The parameters of one recipe as they are put together: each parent's own, and those that both share."""

    def __init__(self, method: str, father: Survey, values: Mapping[str, Values]) -> None:
        self.method, self.father = method, father
        self.first = next(iter(values.values()), {})
        keys = {key for own in values.values() for key in own}
        self.values = {key: {name: own.get(key, self.first.get(key)) for name, own in values.items()} for key in keys}
        self.father_own: dict[str, Any] = {}
        self.mother_own: dict[str, Any] = {"weight": self._filters("ratio", 0.0)}
        self.shared: dict[str, Any] = {}
        self.notes: list[str] = []

    def weigh_parents(self) -> None:
        """Linear: the parents' weights sum to 1."""
        weights = {name: 1 - _number(ratio) for name, ratio in self.values["ratio"].items()}
        self.father_own["weight"] = filters(weights, 1.0, self.father)

    def turn(self) -> None:
        """Slerp: the ratio is the shared t."""
        self.shared["t"], self.mother_own = self._filters("ratio", 0.0), {}

    def add_task_vectors(self) -> None:
        """The methods with a base: weights, densities and how they are made up for."""
        self.father_own["weight"] = self._filters("weight_father", 1.0)
        self._add_scale()
        if self.method != "task_arithmetic":
            self.mother_own["density"] = self._filters("density", 1.0)
            self.father_own["density"] = self._filters("density_father", 1.0)
        if self.method in RESCALED:
            rescale = self.first.get("rescale", "inverse_density")
            self.shared["rescale"] = rescale != "none"
            self.notes.append("mergekit draws other masks, which depend on the order of tensors")
            if rescale == "inverse_density":
                self.notes.append("mergekit rescales to the L1 norm, not by 1 / density")
        if self.method == "della":
            half = float(self.first.get("epsilon", 0.1)) / 2
            self.mother_own["epsilon"] = self.father_own["epsilon"] = half
        if self.method in NEEDS_BASE:
            divide = self.first.get("divide", "ratio")
            self.shared["normalize"] = divide != "none"
            if divide == "ratio" and any(_number(ratio) not in (0.0, 1.0) for ratio in self.values["ratio"].values()):
                self.notes.append(
                    "mergekit divides by the weights of the parents that agree, so a small ratio is no small step"
                )

    def uneven_rules(self) -> tuple[str, ...]:
        """Sentences on settings that differ between tensors here and cannot in mergekit."""
        return tuple(
            f"mergekit's {self.method} has one rule of {key} for all tensors: the first tensor's is written"
            for key in ("rescale", "divide", "epsilon")
            if len(self._distinct(key)) > 1
        )

    def _add_scale(self) -> None:
        scales = self._distinct("scale")
        if len(scales) > 1:
            self.notes.append(f"mergekit's {self.method} has one lambda for all tensors: the first is written")
        scale = float(next(iter(sorted(scales)), 1.0))
        if scale != 1.0:
            self.shared["lambda"] = scale

    def _distinct(self, key: str) -> set[Any]:
        return set(self.values.get(key, {}).values()) - {None}

    def _filters(self, key: str, default: float) -> Any:
        return filters(self.values.get(key, {}), default, self.father)


def filters(values: Mapping[str, Any], default: float, father: Survey) -> Any:
    """A parameter's values by tensor, as mergekit takes them.

    Args:
        values: tensor on the father's disk -> value.
        default: of the father's other tensors.
        father: the father's survey.

    Returns:
        A scalar where all tensors share a value; else filters, few and short name prefixes that match what they should.
    """
    targets = {
        name: float(values.get(name, default)) if values.get(name) is not None else default for name in father.tensors
    }
    if len(set(targets.values())) == 1:
        return next(iter(targets.values()))
    rest = Counter(targets.values()).most_common(1)[0][0]
    todo = {name for name, value in targets.items() if value != rest}
    groups: dict[tuple[str, float], list[str]] = {}  # (prefix, value) -> tensors
    for name in todo:
        for depth in range(1, name.count(".") + 1):
            groups.setdefault((".".join(name.split(".")[:depth]) + ".", targets[name]), []).append(name)
    out: list[dict[str, Any]] = []
    for (prefix, value), names in sorted(groups.items(), key=lambda item: (-len(item[1]), len(item[0][0]), item[0])):
        matched = {name for name in targets if prefix in name}
        if matched <= set(names) and matched & todo:
            out.append({"filter": prefix, "value": value})
            todo -= matched
    out += [{"filter": name, "value": targets[name]} for name in sorted(todo)]
    return [*out, {"value": rest}]


def _number(ratio: float | str | None) -> float:
    return 0.0 if ratio is None else float(ratio)
