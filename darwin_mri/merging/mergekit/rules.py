"""What mergekit's methods take, as a table: their base, their parameters, and what those are called here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from darwin_mri.merging.methods import METHODS
from darwin_mri.merging.methods.spec import Value

Base = Literal["required", "optional", "ignored", "father"]


@dataclass(frozen=True)
class Setting:
    """A parameter of a recipe that becomes a setting of a genome.

    Attributes:
        recipe: mergekit's name; empty where mergekit has none and the default is what mergekit does.
        name: the setting's.
        kind: number; half, a number that is half of the setting; flag; or a flag that stands for two words.
        default: where the recipe does not give it, as the setting has it; None where it must.
        per_parent: whether each parent has its own.
        words: of a flag (set, not set).
    """

    recipe: str
    name: str
    kind: Literal["number", "half", "flag", "words"] = "number"
    default: Value | None = None
    per_parent: bool = False
    words: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Rule:
    """How a recipe of a method is read.

    Attributes:
        base: required; optional; ignored: one more model; father: the first of exactly two.
        weighted: whether each model has a weight.
        normalized: whether weights are divided by their sum where the recipe does not say (``normalize``); None where
            it is no question of weights.
        settings: the others.
    """

    base: Base
    weighted: bool = True
    normalized: bool | None = None
    settings: tuple[Setting, ...] = ()

    @property
    def per_parent(self) -> tuple[str, ...]:
        """Settings of single parents."""
        return tuple(setting.name for setting in self.settings if setting.per_parent)


SCALE = Setting("lambda", "scale", default=1.0)
DENSITY = Setting("density", "density", default=1.0, per_parent=True)
WINDOW = Setting("epsilon", "epsilon", "half", 0.3, per_parent=True)
L1 = Setting("rescale", "rescale", "words", "l1", words=("l1", "none"))


def _divide(default: str) -> Setting:
    return Setting("normalize", "divide", "words", default, words=("weights", "none"))


def _of_table(name: str) -> Rule:
    """A method of ``METHODS``."""
    spec = METHODS[name]
    settings: list[Setting] = []
    for parameter in spec.parameters:
        recipe = parameter.name if parameter.recipe is None else parameter.recipe
        default = parameter.default if parameter.recipe_default is None else parameter.recipe_default
        if parameter.name == "normalize" and spec.sparse:
            continue  # a question of weights
        if parameter.words:
            words = ("weights", "none") if parameter.name == "divide" else ("l1", "none")
            settings.append(Setting(recipe, parameter.name, "words", default, words=words))
        else:
            half = parameter.name == "epsilon" and parameter.per_parent
            kind = "flag" if isinstance(parameter.default, bool) else "half" if half else "number"
            needed = name == "nearswap" and parameter.name == "t"
            settings.append(Setting(recipe, parameter.name, kind, None if needed else default, parameter.per_parent))
    base: Base = "father" if name in ("arcee_fusion", "nearswap") else "ignored"
    if spec.base != "none":
        base = spec.base
    weighted = spec.weights == "per_parent" and name != "karcher"
    divided = any(parameter.name == "normalize" for parameter in spec.parameters) and spec.sparse
    return Rule(base, weighted, False if divided else None, tuple(settings))


RULES: dict[str, Rule] = {
    "linear": Rule("ignored", normalized=True),
    "slerp": Rule("father", weighted=False, settings=(Setting("t", "ratio"),)),
    "task_arithmetic": Rule("required", normalized=False, settings=(SCALE,)),
    "ties": Rule("required", settings=(SCALE, DENSITY, _divide("weights"))),
    "dare_linear": Rule("required", normalized=False, settings=(SCALE, DENSITY, L1)),
    "dare_ties": Rule("required", settings=(SCALE, DENSITY, L1, _divide("none"))),
    "della": Rule("required", settings=(SCALE, DENSITY, WINDOW, L1, _divide("weights"))),
    **{name: _of_table(name) for name in METHODS if name != "passthrough"},
    "passthrough": Rule("ignored", weighted=False, settings=(Setting("scale", "scale", default=1.0),)),
}
IGNORED = {"int8_mask"}  # changes memory, not the result
KNOWN = {"weight", "normalize", *IGNORED, *(own.recipe for rule in RULES.values() for own in rule.settings)} - {""}
KNOWN |= {"rescale", "density"}  # read and of no effect in methods that do not drop
