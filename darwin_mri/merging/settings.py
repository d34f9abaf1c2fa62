"""How one tensor is merged, apart from its ratio: the operators' settings, checked, and exceptions by tensor name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from darwin_mri.errors import ConfigError
from darwin_mri.quantities import quantity_fault

NEEDS_BASE: frozenset[str] = frozenset({"ties", "dare_ties", "della"})
RESCALES: tuple[str, ...] = ("inverse_density", "l1", "none")
DIVIDES: tuple[str, ...] = ("ratio", "weights", "none")
WORDS: dict[str, tuple[str, ...]] = {"rescale": RESCALES, "divide": DIVIDES}


@dataclass(frozen=True)
class Settings:
    """What the operators take beside the ratio r, the other parent's weight.

    Attributes:
        density: share of the other parent's task vector that is kept, in [0, 1] (ties, dare_*, della).
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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in WORDS:
                if value not in WORDS[field.name]:
                    raise ConfigError(
                        f"{field.name} '{value}' is unknown: choose one of {', '.join(WORDS[field.name])}"
                    )
            elif fault := quantity_fault(field.name, value):
                raise ConfigError(fault)

    def density_of(self, parent: str) -> float:
        """Share of a parent's task vector that is kept; every parent but ``father`` has the same."""
        return self.density_father if parent == "father" else self.density

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


SETTINGS = tuple(field.name for field in fields(Settings))
Exceptions = Mapping[str, Mapping[str, float | str]]
"""Tensor name or pattern (``*.mlp.*``) -> settings that differ there, ``ratio`` among them; a later entry wins."""


def settings_for(name: str, common: Settings, exceptions: Exceptions) -> tuple[Settings, float | None]:
    """The settings of one tensor, and its own ratio where an exception gives one.

    Args:
        name: the tensor's name on the father's disk.
        common: what holds where no exception does.
        exceptions: what differs, by name or pattern.

    Returns:
        The settings, and the ratio or None.

    Raises:
        ConfigError: an exception names an unknown setting, or gives it a value that it cannot have.
    """
    own: dict[str, float | str] = {}
    for pattern, values in exceptions.items():
        if name == pattern or fnmatchcase(name, pattern):
            own.update(values)
    ratio = own.pop("ratio", None)
    if ratio is not None and (fault := quantity_fault("ratio", ratio)):
        raise ConfigError(f"tensor '{name}': {fault}")
    unknown = sorted(set(own) - set(SETTINGS))
    if unknown:
        raise ConfigError(f"tensor setting '{unknown[0]}' is unknown: choose ratio or one of {', '.join(SETTINGS)}")
    return (replace(common, **own) if own else common), (None if ratio is None else float(ratio))  # type: ignore[arg-type]
