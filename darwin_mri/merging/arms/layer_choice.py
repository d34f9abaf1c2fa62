"""Which of the father's layers ``competence`` refits."""

from __future__ import annotations

from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.reading import plain_layers, readable_layers


def chosen_layers(context: Context) -> list[int]:
    """The father's layers that are refitted.

    They are the settings' ``layers``; those that tell the prompts' questions apart; or, where answers are written and
    nothing else is said, the last ``depth`` share of those with an FFN.

    Raises:
        InputError: the settings name a layer without a plain FFN, or no prompts that layers could be chosen by.
    """
    able, place = plain_layers(context.father), context.settings.place
    if context.settings.layers is None and place == "answer":
        return able[-max(1, round(context.settings.depth * len(able))) :]
    if context.settings.layers in (None, "read"):
        if not (readable := readable_layers(context.father, context.prompts, context.seed, place)):
            raise InputError(
                "arm.layers: read and arm.place: subject need prompts (arm.prompts) in two wordings or more: give them"
                " one pair"
            )
        # What stands at the subject still has to reach the answer: later layers must read it.
        return [i for i in readable if place == "answer" or i < len(context.father.layers) // 2] or readable[:1]
    assert isinstance(context.settings.layers, tuple)
    missing = sorted(set(context.settings.layers) - set(able))
    if missing:
        raise InputError(
            f"arm.layers names layer {missing[0]}, which the father has no plain FFN in (it has {len(able)})"
        )
    return sorted(set(context.settings.layers))
