"""Cross-architecture arms: ways to build, per father layer, a donor FFN in the father's shape and coordinates.

A candidate is father + r (donor - father), one ratio per layer; for an arm that replaces neurons, r is their share. An
arm is one module with one function, ``build(context)``, that yields donors layer by layer; to add one, write it and
name it in ``ARMS`` and in ``config.ARMS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from darwin_mri.errors import ConfigError
from darwin_mri.merging.arms import aligned, competence, folded, raw, refit, transplant
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.layer_choice import chosen_layers, settle
from darwin_mri.merging.donors import DonorFFN

ARMS: dict[str, Callable[[Context], Iterator[DonorFFN]]] = {
    "raw": raw.build,
    "folded": folded.build,
    "aligned": aligned.build,
    "transplant": transplant.build,
    "refit": refit.build,
    "competence": competence.build,
}

__all__ = ["ARMS", "Context", "build_donors", "count_steps", "settle"]


def build_donors(arm: str, context: Context) -> Iterator[DonorFFN]:
    """Build the donors of a named arm, one father layer after the other.

    Raises:
        ConfigError: no such arm.
        InputError: the pair cannot be crossed by this arm; says why, and what can.
    """
    if arm not in ARMS:
        raise ConfigError(f"cross-architecture arm '{arm}' is unknown: choose one of {', '.join(ARMS)}")
    return _counted(arm, settle(context) if arm == "competence" else context)


def _counted(arm: str, context: Context) -> Iterator[DonorFFN]:
    for donor in ARMS[arm](context):
        yield donor
        if arm != "competence":  # which refits all layers before it hands on the first
            context.advance(1)


def count_steps(arm: str, context: Context) -> int:
    """How many steps building a named arm's donors takes: layers that are refitted, or built, and their targets."""
    if arm == "competence":
        passes = competence.target_steps(context) + len(chosen_layers(context)) * context.settings.sweeps
        return passes * context.settings.rounds
    return len(context.pairs())
