"""Which of a recipe's models is the father, which are the other parents, and which is the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.document import Document, Slice, Source
from darwin_mri.merging.mergekit.rules import RULES, Rule
from darwin_mri.merging.settings import NEEDS_BASE
from darwin_mri.records.roles import PARENTS

PASSTHROUGH = "passthrough"


@dataclass(frozen=True)
class Input:
    """One model of a merge: a whole one, or a stack of layers from one or more.

    Attributes:
        parts: its source in each slice.
    """

    parts: tuple[Source, ...]

    @property
    def model(self) -> str:
        """The model that its first layers come from."""
        return self.parts[0].model

    def is_model(self, ref: str | None) -> bool:
        """Whether it is layers of one model only, and which that is."""
        return all(part.model == ref for part in self.parts)


@dataclass(frozen=True)
class Roles:
    """The parts that a recipe's models have in a merge.

    Attributes:
        parents: the father first; one alone where nothing is merged.
        base: the common base, or None.
        files: the model whose configuration, tokenizer and other small files the child has.
    """

    parents: tuple[Input, ...]
    base: Input | None
    files: Input

    @property
    def father_is_base(self) -> bool:
        """Whether the father has no task vector of its own."""
        return self.base is not None and self.base == self.parents[0]


def assign_roles(document: Document) -> Roles:
    """The roles of a document's models.

    The first model beside the base is the father. A base with one model beside it is the father itself, as are the
    base of slerp, nearswap and arcee_fusion, and a model alone. As in mergekit the child has the base's configuration
    and tokenizer where there is a base, else the first model's.

    Args:
        document: the recipe.

    Returns:
        The roles.

    Raises:
        ConfigError: a base is missing, or the method does not merge as many models.
    """
    rule, where, method = RULES[document.method], document.where, document.method
    inputs = _inputs(document)
    base = document.base or _common_base(document.slices)
    if base is None and rule.base in ("required", "father"):
        raise ConfigError(f"{where}: {method} needs base_model")
    own = _base_input(document, inputs, base) if base else None
    if method == PASSTHROUGH:
        if len(inputs) != 1:
            raise ConfigError(f"{where}: passthrough takes one model in each slice, not {len(inputs)}")
        return Roles(tuple(inputs), None, own or inputs[0])
    if rule.base == "ignored" or own is None:
        parents = inputs if own is None or own in inputs else [*inputs, own]
        roles = Roles(tuple(parents), None, own or inputs[0])
    else:
        parents = [one for one in inputs if one != own]
        if rule.base == "father":
            if len(parents) != 1:
                raise ConfigError(f"{where}: {method} merges base_model with one other model, not with {len(parents)}")
            return Roles((own, *parents), None, own)
        if len(parents) == 1:
            kept = method in NEEDS_BASE or method not in ("task_arithmetic", "dare_linear")
            roles = Roles((own, *parents), own if kept else None, own)
        else:
            roles = Roles(tuple(parents), own, own)
    return _counted(roles, document)


def _counted(roles: Roles, document: Document) -> Roles:
    where, method, count = document.where, document.method, len(roles.parents)
    if count > len(PARENTS):
        raise ConfigError(f"{where}: {count} models beside the base: 1 to {len(PARENTS)} are merged here")
    if not count:
        raise ConfigError(f"{where}: no model beside the base: name one in models")
    if method in ("nuslerp",) and (count != 2 or roles.father_is_base):
        raise ConfigError(f"{where}: nuslerp merges two models beside the base, not {count - roles.father_is_base}")
    if method == "model_stock" and (count < 2 or roles.father_is_base):
        raise ConfigError(f"{where}: model_stock merges two or more models beside the base: name more")
    return roles


def _inputs(document: Document) -> list[Input]:
    """One input for each place of a slice's sources; the same model has the same place in every slice."""
    first = max(document.slices, key=lambda part: len(part.sources))
    names = [source.model for source in first.sources]
    weighted = RULES[document.method].weighted
    placed: list[list[Source]] = [[] for _ in names]
    for number, part in enumerate(document.slices):
        if len(part.sources) < len(names) and not weighted:
            raise ConfigError(
                f"{document.where}: slice {number} merges {len(part.sources)} models, another {len(names)}:"
                f" {document.method} takes as many in each"
            )
        for place, source in zip(placed, _places(part, names), strict=True):
            place.append(source)
    return [Input(tuple(place)) for place in placed]


def _places(part: Slice, names: Sequence[str]) -> list[Source]:
    """A slice's sources by place; a place that none takes is filled by the first of them, with weight 0."""
    rest, places = list(part.sources), [None] * len(names)
    taken: list[Source | None] = list(places)
    for at, name in enumerate(names):
        own = next((source for source in rest if source.model == name), None)
        if own is not None:
            taken[at] = own
            rest.remove(own)
    filler = replace(part.sources[0], parameters={"weight": 0.0})
    return [one if one is not None else (rest.pop(0) if rest else filler) for one in taken]


def _common_base(slices: Sequence[Slice]) -> str | None:
    named = {part.base for part in slices}
    return next(iter(named)) if len(named) == 1 else None


def _base_input(document: Document, inputs: Sequence[Input], base: str) -> Input:
    """The input that is the base; whole, and not among the others, where the recipe names it apart."""
    if any(part.base != base for part in document.slices):
        raise ConfigError(f"{document.where}: slices with bases of their own are not built here: give one base_model")
    for one in inputs:
        if one.is_model(base):
            return one
    if any(part.model == base for one in inputs for part in one.parts):
        raise ConfigError(f"{document.where}: name base_model {base} among the sources of every slice, or of none")
    # Named apart it takes no part in slices, so layers have to keep their places; the merge says so where they do not.
    return Input((Source(base, None),) * len(document.slices))


def rule_of(document: Document) -> Rule:
    """How a document's method is read."""
    return RULES[document.method]
