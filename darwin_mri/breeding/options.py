"""How a search is run."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class SearchOptions:
    """How a search is run.

    Attributes:
        budget: most candidates, the opening's included.
        population: candidates of a generation.
        seed: of the strategy's random numbers.
        racing: stop candidates that cannot reach the better half.
        strategy: cma, random, or prior-mean (the opening's first candidate alone).
        time_limit: seconds after which no generation begins, and in an asynchronous search no candidate.
        asynchronous: a free worker gets the next candidate; else a generation waits for its slowest one.
    """

    budget: int
    population: int
    seed: int
    racing: bool = True
    strategy: str = "cma"
    time_limit: float = math.inf
    asynchronous: bool = False
