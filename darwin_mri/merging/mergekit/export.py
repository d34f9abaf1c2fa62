"""Writing a genome as mergekit's YAML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from darwin_mri.checkpoints.survey import Survey
from darwin_mri.config import JOINT
from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.rules import RULES, Setting
from darwin_mri.merging.mergekit.values import DROPPING, SHARED, Values
from darwin_mri.merging.settings import METHOD_VALUES, OF_A_PARENT, SETTINGS, Settings
from darwin_mri.records.roles import FATHER, PARENTS

WITH_ELECTION = ("ties", "dare_ties", "della", "breadcrumbs_ties")


def plain_values(settings: Settings, roles: Sequence[str]) -> Values:
    """One tensor's settings by name, with each other parent's own."""
    own = {f"{key}@{role}": settings.of(key, role) for key in OF_A_PARENT for role in roles}
    common = {key: getattr(settings, key) for key in SETTINGS if key not in METHOD_VALUES}
    return {**common, **dict(settings.values), **own}


def write_recipe(
    method: str, parents: Mapping[str, str | None], father: Survey, values: Mapping[str, Values], dtype: str
) -> tuple[str, tuple[str, ...]]:
    """A genome as mergekit's YAML.

    Args:
        method: the genome's.
        parents: role (father, mother, parent3 ..., base) -> the model as a user would write it.
        father: the father's survey; filters must single out the right ones among its tensors.
        values: tensor on the father's disk -> ``ratio@ROLE`` of each other parent, and settings; what is absent stays
            the father's.
        dtype: of the father's weights, e.g. bfloat16.

    Returns:
        The text, and sentences on where mergekit's child will differ from ours.

    Raises:
        ConfigError: mergekit has no such method.
    """
    if method not in RULES:
        raise ConfigError(f"mergekit has no method {method}: genomes of its own methods alone can be exported")
    if any(own.get("relax", 1.0) != 1.0 for own in values.values()):
        raise ConfigError("mergekit has no setting relax: leave it out to export the genome")
    rule, base = RULES[method], parents.get("base")
    export = _Export(method, father, values, [role for role in PARENTS if role in parents])
    data: dict[str, Any] = {"merge_method": method, "dtype": "float32", "out_dtype": dtype}
    if rule.base == "father":
        data["base_model"] = parents[FATHER]
    elif rule.base == "required":
        data["base_model"] = base or parents[FATHER]
    elif rule.base == "optional" and base:
        data["base_model"] = base
    own = export.own()
    if rule.base == "required" and base in (None, parents[FATHER]):  # the father is the base and has no task vector
        own.pop(FATHER)
    data["models"] = [
        {"model": parents[role], **({"parameters": given} if given else {})} for role, given in own.items()
    ]
    if shared := export.shared():
        data["parameters"] = shared
    notes = (*export.notes(), *export.uneven_rules())
    head = "# Written by darwin_mri. " + "; ".join(notes) + "\n" if notes else "# Written by darwin_mri.\n"
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120), notes


class _Export:
    """The parameters of one recipe: each parent's own, and those that all share."""

    def __init__(self, method: str, father: Survey, values: Mapping[str, Values], roles: Sequence[str]) -> None:
        self.method, self.father, self.values, self.roles = method, father, values, tuple(roles)
        self.rule = RULES[method]
        self.first = next(iter(values.values()), {})

    def own(self) -> dict[str, dict[str, Any]]:
        """Role -> its parameters."""
        own: dict[str, dict[str, Any]] = {role: {} for role in self.roles}
        if self.rule.weighted:
            for role in self.roles:
                own[role]["weight"] = self._filters(self._weights(role), 1.0 if role == FATHER else 0.0)
        for setting in self.rule.settings:
            if setting.per_parent:
                for role in self.roles:
                    own[role][setting.recipe] = self._of_parent(setting, role)
        return own

    def shared(self) -> dict[str, Any]:
        """What all parents share."""
        if self.method == "slerp":
            return {"t": self._filters(self._weights(self.roles[1]), 0.0)}
        shared: dict[str, Any] = {}
        for setting in self.rule.settings:
            if setting.per_parent or not setting.recipe:
                continue
            value = self.first.get(setting.name, setting.default)
            if setting.kind == "words":
                shared[setting.recipe] = value != setting.words[1]
            elif value != setting.default:
                shared[setting.recipe] = value
        return shared

    def notes(self) -> list[str]:
        """Sentences on where mergekit's definition is another."""
        notes: list[str] = []
        if self.method in DROPPING and self.method not in ("breadcrumbs", "breadcrumbs_ties"):
            notes.append("mergekit draws other masks, which depend on the order of tensors")
            if self.first.get("rescale", "inverse_density") == "inverse_density":
                notes.append("mergekit rescales to the L1 norm, not by 1 / density")
        ratios = {_number(own.get(f"ratio@{role}")) for own in self.values.values() for role in self.roles[1:]}
        if self.method in WITH_ELECTION and self.first.get("divide", "ratio") == "ratio" and ratios - {0.0, 1.0}:
            notes.append("mergekit divides by the weights of the parents that agree, so a small ratio is no small step")
        if self.method in SHARED and not self.rule.weighted and self._uneven_shares():
            notes.append(f"mergekit's {self.method} has no weights: its child takes equal shares of all parents")
        if self.method in JOINT and {_number(own.get(f"ratio@{self.roles[1]}")) for own in self.values.values()} - {
            1.0
        }:
            notes.append(f"mergekit's {self.method} has no ratio: its child is the whole result in every tensor")
        return notes

    def _uneven_shares(self) -> bool:
        """Whether some tensor takes more of one parent than of another."""
        equal = 1 / len(self.roles)
        ratios = [_number(own.get(f"ratio@{role}")) for own in self.values.values() for role in self.roles[1:]]
        return any(abs(ratio - equal) > 1e-6 for ratio in ratios)

    def uneven_rules(self) -> tuple[str, ...]:
        """Sentences on settings that differ between tensors here and cannot in mergekit."""
        single = [setting for setting in self.rule.settings if not setting.per_parent and setting.name != "ratio"]
        single += [setting for setting in self.rule.settings if setting.kind == "half"]
        return tuple(
            f"mergekit's {self.method} has one {setting.recipe} for all tensors here: the first tensor's is written"
            for setting in single
            if len({own.get(setting.name) for own in self.values.values()}) > 1
        )

    def _weights(self, role: str) -> dict[str, Any]:
        """Tensor -> a parent's weight."""
        if role != FATHER:
            return {name: own.get(f"ratio@{role}", 0.0) for name, own in self.values.items()}
        if self.method in ("linear", *SHARED):
            return {
                name: 1 - sum(_number(own.get(f"ratio@{other}")) for other in self.roles[1:])
                for name, own in self.values.items()
            }
        return {name: own.get("weight_father", 1.0) for name, own in self.values.items()}

    def _of_parent(self, setting: Setting, role: str) -> Any:
        key = f"{setting.name}_father" if role == FATHER and setting.name == "density" else f"{setting.name}@{role}"
        if setting.kind == "half":
            return _number(self.first.get(key, self.first.get(setting.name, setting.default))) / 2
        default = _number(setting.default)
        return self._filters(
            {name: own.get(key, own.get(setting.name, default)) for name, own in self.values.items()}, default
        )

    def _filters(self, values: Mapping[str, Any], default: float) -> Any:
        return filters(values, default, self.father)


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


def _number(value: Any) -> float:
    return 0.0 if value is None else float(value)
