"""Roles of the parents, in the order a config lists them: what a person calls each, and what files are named after."""

from __future__ import annotations

from typing import Literal, get_args

Parent = Literal["father", "mother", "parent3", "parent4", "parent5", "parent6", "parent7", "parent8"]
PARENTS: tuple[Parent, ...] = get_args(Parent)
FATHER, MOTHER = PARENTS[:2]
BASE = "base"  # the common ancestor, which is no parent
