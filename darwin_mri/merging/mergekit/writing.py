"""Writing a genome as mergekit's YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.reading import RESCALED, Values
from darwin_mri.merging.settings import NEEDS_BASE


def write_recipe(
    method: str, parents: Mapping[str, str | None], father: Survey, values: Mapping[str, Values], dtype: str
) -> tuple[str, tuple[str, ...]]:
    """A genome as mergekit's YAML.

    Args:
        parents: father, mother and base as a user would write them.
        values: tensor on the father's disk -> its ratio and settings; what is absent stays the father's.
        dtype: of the father's weights, e.g. bfloat16.

    Returns:
        the text, and sentences on where mergekit's child will differ from ours.

    Raises:
        ConfigError: mergekit has no such method.
    """
    if method not in OPERATORS:
        raise ConfigError(
            f"mergekit has no cross-architecture arm {method}: only same-architecture genomes can be exported"
        )
    first = next(iter(values.values()), {})
    get = {key: {name: own.get(key, first.get(key)) for name, own in values.items()} for key in _keys(values)}
    ratio = get["ratio"]
    data: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": dtype}
    father_own: dict[str, Any] = {}
    mother_own: dict[str, Any] = {"weight": _filters(ratio, 0.0, father)}
    shared: dict[str, Any] = {}
    notes: list[str] = []
    if method == "linear":
        father_own["weight"] = _filters({name: 1 - _number(r) for name, r in ratio.items()}, 1.0, father)
    elif method == "slerp":
        data["base_model"], shared["t"], mother_own = parents["father"], _filters(ratio, 0.0, father), {}
    else:
        data["base_model"] = parents["base"] or parents["father"]
        father_own["weight"] = _filters(get.get("weight_father", {}), 1.0, father)
        shared |= _common(get, "scale", "lambda", 1.0, method, notes)
        if method != "task_arithmetic":
            mother_own["density"] = _filters(get.get("density", {}), 1.0, father)
            father_own["density"] = _filters(get.get("density_father", {}), 1.0, father)
        if method in RESCALED:
            rescale = first.get("rescale", "inverse_density")
            shared["rescale"] = rescale != "none"
            notes.append("mergekit draws other masks, which depend on the order of tensors")
            if rescale == "inverse_density":
                notes.append("mergekit rescales to the L1 norm, not by 1 / density")
        if method == "della":
            mother_own["epsilon"] = father_own["epsilon"] = float(first.get("epsilon", 0.1)) / 2
        if method in NEEDS_BASE:
            divide = first.get("divide", "ratio")
            shared["normalize"] = divide != "none"
            if divide == "ratio" and any(_number(r) not in (0.0, 1.0) for r in ratio.values()):
                notes.append(
                    "mergekit divides by the weights of the parents that agree, so a small ratio is no small step"
                )
    for key in ("rescale", "divide", "epsilon"):
        if len(set(get.get(key, {}).values()) - {None}) > 1:
            notes.append(f"mergekit's {method} has one rule of {key} for all tensors: the first tensor's is written")
    models = [(parents["father"], father_own), (parents["mother"], mother_own)]
    if method not in ("linear", "slerp") and parents["base"] is None:
        models = models[1:]
    data["models"] = [{"model": name, **({"parameters": own} if own else {})} for name, own in models]
    if shared:
        data["parameters"] = shared
    head = "# Written by darwin_mri. " + "; ".join(notes) + "\n" if notes else "# Written by darwin_mri.\n"
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), tuple(notes)


def _keys(values: Mapping[str, Values]) -> set[str]:
    return {key for own in values.values() for key in own}


def _common(
    get: Mapping[str, Mapping[str, Any]], key: str, name: str, default: float, method: str, notes: list[str]
) -> dict[str, float]:
    found = set(get.get(key, {}).values()) - {None}
    if len(found) > 1:
        notes.append(f"mergekit's {method} has one {name} for all tensors: the first is written")
    value = float(next(iter(sorted(found)), default))
    return {} if value == default else {name: value}


def _filters(values: Mapping[str, Any], default: float, father: Survey) -> Any:
    """A scalar where all tensors share a value, else filters; the shortest set of name prefixes that hits what it should."""
    wanted = {
        name: float(values.get(name, default)) if values.get(name) is not None else default for name in father.tensors
    }
    if len(set(wanted.values())) == 1:
        return next(iter(wanted.values()))
    rest = Counter(wanted.values()).most_common(1)[0][0]
    todo = {name for name, value in wanted.items() if value != rest}
    groups: dict[tuple[str, float], list[str]] = {}
    for name in todo:
        for depth in range(1, name.count(".") + 1):
            groups.setdefault((".".join(name.split(".")[:depth]) + ".", wanted[name]), []).append(name)
    out: list[dict[str, Any]] = []
    for (prefix, value), names in sorted(groups.items(), key=lambda item: (-len(item[1]), len(item[0][0]), item[0])):
        hit = {name for name in wanted if prefix in name}
        if hit <= set(names) and hit & todo:
            out.append({"filter": prefix, "value": value})
            todo -= hit
    out += [{"filter": name, "value": wanted[name]} for name in sorted(todo)]
    return [*out, {"value": rest}]


def _number(ratio: float | str | None) -> float:
    return 0.0 if ratio is None else float(ratio)
