"""What a merge method takes: parents, base, weights, parameters. Read without torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from darwin_mri.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Value = float | int | bool | str
RESCALES: tuple[str, ...] = ("inverse_density", "l1", "none")
DIVIDES: tuple[str, ...] = ("ratio", "weights", "none")
PACKAGE = "darwin_mri.merging.methods"


@dataclass(frozen=True)
class Parameter:
    """One number, flag or word of a method.

    Attributes:
        name: as the method's function takes it, and as a genome names it.
        default: where a genome or config does not give it; its type is the parameter's.
        low: the least value of a number.
        high: the largest.
        words: what a word may be.
        per_parent: whether each parent has its own value.
        recipe: mergekit's name for it, where that is another; empty where mergekit has no such parameter.
        recipe_default: where a mergekit recipe does not give it; None where that is ``default``.
    """

    name: str
    default: Value
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    per_parent: bool = False
    recipe: str | None = None
    recipe_default: Value | None = None

    def fault(self, value: object) -> str:
        """Why the parameter cannot have a value, in words that name it; empty where it can."""
        if isinstance(self.default, str):
            return "" if value in self.words else f"{self.name} {value!r} is unknown: choose one of {self.words}"
        if isinstance(self.default, bool):
            return "" if isinstance(value, bool) else f"{self.name} {value!r} must be true or false"
        whole = isinstance(self.default, int)
        if (
            isinstance(value, int if whole else (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and self.low <= value <= self.high
        ):
            return ""
        bounds = [f"at least {self.low:g}"] if math.isfinite(self.low) else []
        bounds += [f"at most {self.high:g}"] if math.isfinite(self.high) else []
        return f"{self.name} {value!r} must be a {'whole' if whole else 'finite'} number {' and '.join(bounds)}".strip()


@dataclass(frozen=True)
class MethodSpec:
    """A merge method: its function and what it takes.

    Attributes:
        name: mergekit's where it has the method.
        module: where the function of that name is, below ``darwin_mri.merging.methods``; empty where it has none.
        parents: least and largest number of parents, the father counted, the base not; None has no limit.
        base: required, optional or none. The father stands in for mergekit's base in methods of a pair.
        weights: per_parent, or none: such a method has one result T, and the search's ratio r goes from the father to
            it, F + r (T - F).
        symmetric: whether parents of equal weight and parameters may change places.
        paper: where the method comes from.
        parameters: what else it takes.
        sparse: whether its function takes ``sparse.Part``s, which hold each parent's weight and parameters.
        draws: whether it drops at random, and takes uniform numbers for each parent.
    """

    name: str
    module: str
    parents: tuple[int, int | None]
    base: Literal["required", "optional", "none"]
    weights: Literal["per_parent", "none"]
    symmetric: bool
    paper: str
    parameters: tuple[Parameter, ...] = ()
    sparse: bool = False
    draws: bool = False

    @property
    def function(self) -> Callable[..., Tensor]:
        """The function; loads torch."""
        return getattr(import_module(f"{PACKAGE}.{self.module}"), self.name)

    @property
    def needs_base(self) -> bool:
        """Whether there is no merge without a base."""
        return self.base == "required"

    def require(self, parents: int, base: bool) -> None:
        """Refuse a number of parents that the method does not merge, or a missing base; raises ConfigError."""
        least, most = self.parents
        if parents < least or (most is not None and parents > most):
            words = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
            raise ConfigError(f"{self.name} merges {words} parents, not {parents}: give as many, or another method")
        if self.needs_base and not base:
            raise ConfigError(f"{self.name} needs a base model: give one, or choose another method")

    def options(self, values: Mapping[str, Value | Sequence[Value]], parents: int) -> dict[str, Value | list[Value]]:
        """Every parameter's value: the given ones, checked, and defaults for the rest.

        Args:
            values: by parameter; for one per parent a value for all, or one for each.
            parents: how many there are.

        Returns:
            By name; a list, one for each parent, where the parameter is per parent.

        Raises:
            ConfigError: a parameter that the method does not have, a value that it cannot have, or too few of them.
        """
        names = [parameter.name for parameter in self.parameters]
        if unknown := sorted(set(values) - set(names)):
            known = f"it has {', '.join(names)}" if names else "it has none"
            raise ConfigError(f"parameter '{unknown[0]}' of {self.name} is unknown: {known}")
        chosen: dict[str, Value | list[Value]] = {}
        for parameter in self.parameters:
            given = values.get(parameter.name, parameter.default)
            several = isinstance(given, Sequence) and not isinstance(given, str)
            own: list[Value] = [*given] if several else [given] * (parents if parameter.per_parent else 1)  # type: ignore[list-item]
            if len(own) != (parents if parameter.per_parent else 1) or (several and not parameter.per_parent):
                wanted = f"one value for each of {parents} parents" if parameter.per_parent else "one value"
                raise ConfigError(f"{parameter.name} of {self.name} takes {wanted}, not {given!r}")
            for value in own:
                if fault := parameter.fault(value):
                    raise ConfigError(f"{self.name}: {fault}")
            chosen[parameter.name] = own if parameter.per_parent else own[0]
        return chosen
