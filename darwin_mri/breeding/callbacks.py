"""What a search reports while it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from darwin_mri.breeding.ranking import best_whole
from darwin_mri.records import LedgerLine


@dataclass(frozen=True)
class GenerationStats:
    """How a search stands after a generation.

    Attributes:
        generation: its number; 0 is the opening.
        candidates: how many it had.
        best: best fitness so far of a candidate scored on all items; NaN where there is none.
        mean: mean fitness of the generation's candidates; NaN where all failed.
        sigma: the strategy's step size when the generation was drawn; None for the opening and for random candidates.
        items: item evaluations so far.
        spread: standard deviation of the fitness of the generation's candidates; NaN where all failed.
        scores: task -> score of the best candidate so far; nothing where there is none.
        seconds: of all candidates so far, each on its worker.
    """

    generation: int
    candidates: int
    best: float
    mean: float
    sigma: float | None
    items: int
    spread: float = math.nan
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0


@dataclass(frozen=True)
class SearchCallbacks:
    """What a search calls on its way.

    Attributes:
        on_line: called with every candidate's line once it is written.
        on_generation: called after every generation; in an asynchronous search after every population of candidates.
        interrupted: called after every block; where it returns True the search ends there, by KeyboardInterrupt.
    """

    on_line: Callable[[LedgerLine], None] = lambda _: None
    on_generation: Callable[[GenerationStats], None] = lambda _: None
    interrupted: Callable[[], bool] = lambda: False


def generation_stats(
    generation: int, lines: Sequence[LedgerLine], all_lines: Sequence[LedgerLine], sigma: float | None
) -> GenerationStats:
    """How a search stands.

    Args:
        generation: its number.
        lines: of its candidates.
        all_lines: of the search so far.
        sigma: the strategy's step size when the generation was drawn.

    Returns:
        The statistics that callbacks get.
    """
    fitness = [line.fitness for line in lines if line.fitness is not None]
    best = best_whole(all_lines)
    return GenerationStats(
        generation=generation,
        candidates=len(lines),
        best=math.nan if best is None or best.fitness is None else best.fitness,
        mean=float(np.mean(fitness)) if fitness else math.nan,
        sigma=sigma,
        items=sum(line.items for line in all_lines),
        spread=float(np.std(fitness)) if fitness else math.nan,
        scores=dict(best.scores) if best else {},
        seconds=sum(line.seconds for line in all_lines),
    )
