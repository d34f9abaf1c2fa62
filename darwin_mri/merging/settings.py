"""How one tensor is merged, apart from its ratio: the operators' settings, checked, and exceptions by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from darwin_mri.errors import ConfigError
from darwin_mri.merging.methods import METHODS, SPECS
from darwin_mri.merging.methods.spec import DIVIDES, RESCALES
from darwin_mri.quantities import quantity_fault
from darwin_mri.records.roles import FATHER, PARENTS

NEEDS_BASE: frozenset[str] = frozenset(
    {"ties", "dare_ties", "della", *(spec.name for spec in METHODS.values() if spec.needs_base)}
)
OF_TWO: frozenset[str] = frozenset(  # merge the father with exactly one other parent
    {"slerp", "replace", *(spec.name for spec in METHODS.values() if spec.parents[1] == 2)}
)
OF_A_PARENT: tuple[str, ...] = ("density", "epsilon", "gamma")  # settings that every other parent can have its own of
TUPLES = ("values", "by_parent")
METHOD_VALUES = tuple(
    dict.fromkeys(
        parameter.name
        for spec in SPECS.values()
        for parameter in spec.parameters
        if parameter.name not in ("density", "epsilon", "gamma", "rescale", "divide", "scale")
    )
)
WORDS: dict[str, tuple[str, ...]] = {"rescale": RESCALES, "divide": DIVIDES}


@dataclass(frozen=True)
class Settings:
    """What the operators take beside the ratio r, the other parent's weight.

    Attributes:
        density: share of the other parents' task vectors that is kept, in [0, 1] (ties, dare_*, della).
        density_father: the same of the father's; without a base dare_linear keeps the father whole.
        weight_father: weight of the father's task vector beside the other's r, negative to take it away; other methods
            than linear and slerp.
        rescale: what makes up for dropped elements: ``inverse_density`` (1 / density, DARE's own), ``l1`` (the L1 norm
            before over the one after, mergekit's) or ``none``.
        epsilon: width of della's window of probabilities.
        divide: how elected vectors are averaged (ties, dare_ties, della): ``ratio`` where both parents agree by
            |weight_father| + |r|, else not at all, so that a small r is a small step; ``weights`` by the weights of
            those that agree, signs included (the TIES paper's mean; mergekit's ``normalize: true``); ``none`` (their
            sum).
        scale: what the whole change from the base is multiplied with: TIES' lambda.
        gamma: share of the largest elements of a task vector that breadcrumbs drops, in [0, 1].
        relax: omega of AIM (arXiv 2502.02421), in [0, 1]: what a child takes from others is multiplied with
            1 - (1 - omega) a in every column of a linear map, a in [0, 1] being how large the base's inputs are there.
            1 changes nothing.
        values: (name, value) of what single methods take beside these (``methods.METHODS``).
        by_parent: (``density@parent3``, value) for the other parents whose own value differs.

    Each number's range is that of ``quantities``.

    Raises:
        ConfigError: a value no operator can mean.
    """

    density: float = 1.0
    density_father: float = 1.0
    weight_father: float = 1.0
    rescale: str = "inverse_density"
    epsilon: float = 0.1
    divide: str = "ratio"
    scale: float = 1.0
    gamma: float = 0.01
    relax: float = 1.0
    values: tuple[tuple[str, float | str], ...] = ()
    by_parent: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for key, value in self.by_parent:
            name, role = split_key(key)
            if role is None or name not in OF_A_PARENT:
                raise ConfigError(f"setting '{key}' is unknown: of each parent are {', '.join(OF_A_PARENT)}")
            if fault := quantity_fault(name, value):
                raise ConfigError(fault)
        for field in fields(self):
            if field.name in TUPLES:
                continue
            value = getattr(self, field.name)
            if field.name in WORDS:
                if value not in WORDS[field.name]:
                    raise ConfigError(
                        f"{field.name} '{value}' is unknown: choose one of {', '.join(WORDS[field.name])}"
                    )
            elif fault := quantity_fault(field.name, value):
                raise ConfigError(fault)

    def density_of(self, parent: str) -> float:
        """Share of a parent's task vector that is kept."""
        return self.density_father if parent == FATHER else self.of("density", parent)

    def of(self, key: str, parent: str) -> float:
        """One parent's own value of a setting, that of all where it has none."""
        common: float = getattr(self, key)
        return dict(self.by_parent).get(f"{key}@{parent}", common)

    @property
    def father_whole(self) -> bool:
        """Whether ratio 0 is the father itself."""
        return self.density_father >= 1 and self.weight_father == 1 and self.scale == 1

    @property
    def zero_is_father(self) -> bool:
        """Whether a tensor of ratio 0 is left to the father (decision 4).

        A recipe that gives the father's task vector another weight, or scales the whole change, moves the tensor
        without the other parent too.
        """
        return self.weight_father == 1 and self.scale == 1


SETTINGS = (*(field.name for field in fields(Settings) if field.name not in TUPLES), *METHOD_VALUES)
Exceptions = Mapping[str, Mapping[str, float | str]]
"""Tensor name or pattern (``*.mlp.*``) -> settings that differ there, ``ratio`` among them; a later entry wins.

What differs for one of several other parents has its role in the key: ``ratio@parent3``, ``density@mother``.
"""
OwnRatios = Mapping[str, float]
"""Role -> the ratio that an exception gives a tensor; ``""`` for every role."""


def split_key(key: str) -> tuple[str, str | None]:
    """(setting, role of the parent it is for) of ``density@parent3``; no role where there is none of that name."""
    name, _, role = key.partition("@")
    return name, role if role in PARENTS[1:] else None


def make_settings(values: Mapping[str, float | str], common: Settings | None = None) -> Settings:
    """Settings from a mapping, over common ones.

    Raises:
        ConfigError: an unknown setting, or a value that it cannot have.
    """
    common = common or Settings()
    own = {key: value for key, value in values.items() if "@" not in key}
    by_parent = {key: value for key, value in values.items() if "@" in key}
    if unknown := sorted(set(own) - set(SETTINGS)):
        raise ConfigError(f"tensor setting '{unknown[0]}' is unknown: choose ratio or one of {', '.join(SETTINGS)}")
    # A value for all parents replaces what single ones had.
    kept = {key: value for key, value in common.by_parent if split_key(key)[0] not in own}
    merged = tuple(sorted({**kept, **by_parent}.items()))
    values = {**dict(common.values), **{key: own.pop(key) for key in METHOD_VALUES if key in own}}
    return replace(common, **own, values=tuple(sorted(values.items())), by_parent=merged)  # type: ignore[arg-type]


def settings_for(name: str, common: Settings, exceptions: Exceptions) -> tuple[Settings, OwnRatios]:
    """The settings of one tensor, and its own ratios where exceptions give some.

    Args:
        name: the tensor's name on the father's disk.
        common: what holds where no exception does.
        exceptions: what differs, by name or pattern.

    Returns:
        The settings, and the ratios by role.

    Raises:
        ConfigError: an exception names an unknown setting, or gives it a value that it cannot have.
    """
    own: dict[str, float | str] = {}
    for pattern, values in exceptions.items():
        if name == pattern or fnmatchcase(name, pattern):
            own.update(values)
    ratios: dict[str, float] = {}
    for key in [key for key in own if key.partition("@")[0] == "ratio"]:
        value, role = own.pop(key), split_key(key)[1]
        if "@" in key and role is None:
            raise ConfigError(f"tensor '{name}': '{key}' names no parent: choose one of {', '.join(PARENTS[1:])}")
        if fault := quantity_fault("ratio", value):
            raise ConfigError(f"tensor '{name}': {fault}")
        ratios[role or ""] = float(value)
    return (make_settings(own, common) if own else common), ratios
