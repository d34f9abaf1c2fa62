"""Roles of models in scores and contrasts; the one place that reads a null child's kind out of a role."""

from __future__ import annotations

from typing import Literal, get_args

from darwin_mri.roles import FATHER, MOTHER, PARENTS, Parent
from darwin_mri.translation import later, say

__all__ = [
    "CHILD_MINUS",
    "FAMILIES",
    "FATHER",
    "MOTHER",
    "NULL_PREFIX",
    "PARENTS",
    "USUAL",
    "Family",
    "Other",
    "Parent",
    "family_of",
    "moments_file",
    "named",
    "null_of_role",
    "pair_file",
    "role_label",
    "scan_file",
]

Family = Literal[Parent, "child", "base", "null", "baseline"]
Other = Literal[Parent, "base", "null", "baseline"]
FAMILIES: tuple[Family, ...] = get_args(Family)  # in the order of every table and chart

# Every other model and the two parents that each run has; a page names the other parents only where there are any.
USUAL: tuple[Family, ...] = tuple(family for family in FAMILIES if family not in PARENTS[2:])

NULL_PREFIX = "null:"
CHILD_MINUS = "child - "


_LABELS = {
    "father": later("father"),
    "mother": later("mother"),
    "child": later("child"),
    "base": later("base"),
    "null": later("null"),
    "baseline": later("baseline"),
    "ancestor": later("ancestor"),
}
_NAMES = {
    "father": later("the father"),
    "mother": later("the mother"),
    "child": later("the child"),
    "base": later("the base"),
}


def role_label(role: str) -> str:
    """A role as tables and charts name it, in the language in use; what is no role stays as it is."""
    if role in PARENTS[2:]:
        return say("parent{number}", number=role.removeprefix("parent"))
    if role.startswith(NULL_PREFIX):
        return say("null: {kind}", kind=role.removeprefix(NULL_PREFIX))
    return say(_LABELS[role]) if role in _LABELS else role


def named(role: str) -> str:
    """A role as a sentence names it: ``the father``, ``the mother``, ``the base``, but ``parent3``."""
    if role in PARENTS[2:]:
        return role_label(role)
    return say(_NAMES[role]) if role in _NAMES else f"the {role}"


def scan_file(role: str) -> str:
    """The MRI of a parent, relative to the run folder."""
    return f"scan/{role}.json"


def pair_file(role: str) -> str:
    """The record of the father beside that parent, relative to the run folder."""
    return "scan/pair.json" if role == MOTHER else f"scan/pair-{role}.json"


def moments_file(role: str) -> str:
    """The moments of a parent, relative to the run folder."""
    return "moments.safetensors" if role == FATHER else f"moments-{role}.safetensors"


def null_of_role(role: str) -> str | None:
    """The kind of null child that a role names: ``null:uniform`` -> ``uniform``; None for every other role."""
    return role.removeprefix(NULL_PREFIX) if role.startswith(NULL_PREFIX) else None


def family_of(role: str) -> Family:
    """The family of a role; one that is none of the known ones counts as a baseline."""
    for family in FAMILIES:
        if family == role:
            return family
    return "baseline"
