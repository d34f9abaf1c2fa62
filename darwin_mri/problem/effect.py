"""Runs that cannot win, told before the search: genes that change nothing, and an opening of one candidate."""

from __future__ import annotations

import numpy as np

from darwin_mri.config import Config
from darwin_mri.errors import GateError
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Prior

LEAST = 1e-6  # change of a tensor, of its size, that is more than rounding
ANYWAY = "--force searches all the same"


def require_effect(config: Config, space: MergeSpace) -> None:
    """Stop where no gene moves a tensor; the first one that does is enough.

    Args:
        config: of the run.
        space: of plain ratios.

    Raises:
        GateError: with the largest change, and what to give.
    """
    largest = 0.0
    for gene in space.space.genes:
        for name in gene.tensors:
            size = float(space.merge.father.tensor(name).double().norm())
            change = float(space.merge.direction(name, config.reference_ratio, gene.parent).double().norm())
            if change > LEAST * size:
                return
            largest = max(largest, change / size if size else 0.0)
    measured = f"the largest change of a tensor is {largest:.1g} of its size"
    if config.cross:
        raise GateError(
            f"nothing to search: the donors of {config.method} equal the father ({measured}), so it had nothing to"
            f" write: give more texts (arm.prompts, arm.documents) or another arm; {ANYWAY}"
        )
    raise GateError(f"nothing to search: the other parents' weights equal the father's ({measured}); {ANYWAY}")


def require_opening(space: MergeSpace, prior: Prior) -> None:
    """Stop where the search would open with the father alone.

    Args:
        space: with the genome that is searched.
        prior: where it starts.

    Raises:
        GateError: with the prior's own reason, and what to give.
    """
    start = space.genome.start(prior)
    opening = np.clip(start.opening, start.low, start.high)  # (candidates, genes)
    if start.frozen.all() or len(np.unique(opening, axis=0)) > 1:
        return
    reason = f" ({prior.note})" if prior.note else ""
    raise GateError(
        f"nothing to start from: by the prior every gene is best left at the father{reason}: give more search items,"
        f" other parents, or prior.preset: flat; {ANYWAY}"
    )
