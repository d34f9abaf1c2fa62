"""What the numbers of a merge may be: one rule for each, whether a config, a genome or a recipe gives it."""

from __future__ import annotations

import math

RANGES: dict[str, tuple[float, float, str]] = {
    "density": (0.0, 1.0, "a number between 0 and 1"),
    "weight": (-math.inf, math.inf, "a finite number"),  # a negative one takes away
    "epsilon": (0.0, math.inf, "a finite number of at least 0"),
}
KINDS = {
    "density": "density",
    "density_father": "density",
    "gamma": "density",
    "relax": "density",
    "ratio": "weight",
    "weight": "weight",
    "weight_father": "weight",
    "t": "weight",  # outside [0, 1] it lies beyond a parent
    "scale": "weight",
    "lambda": "weight",
    "epsilon": "epsilon",
}


def quantity_fault(name: str, value: object) -> str:
    """Why a quantity cannot have a value, in words that name the quantity; empty where it can."""
    low, high, words = RANGES[KINDS[name]]
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and math.isfinite(value):
        return ""
    return f"{name} {value!r} must be {words}"
