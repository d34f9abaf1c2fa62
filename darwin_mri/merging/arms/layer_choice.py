"""Which of the father's layers ``competence`` refits, and at which place of a text: by rule, or by the reading test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from darwin_mri.config_arms import READS
from darwin_mri.errors import InputError
from darwin_mri.merging.arms.context import Context
from darwin_mri.merging.arms.reading import NEARLY, choose_wordings, plain_layers, recognise

GAP = 2  # between the numbers of chosen layers, so that one between them may fail the test


def settle(context: Context) -> Context:
    """The context with place and layers decided, so that no reading test is made twice.

    The layers are the settings' own; those that tell the prompts' questions apart; or, where answers are written and
    nothing else is said, the last ``depth`` share of those with an FFN.

    Raises:
        InputError: the settings name a layer without a plain FFN, or no prompts that the reading test could ask.
    """
    settings, able = context.settings, plain_layers(context.father)
    place, layers = settings.place, settings.layers
    if isinstance(layers, tuple) and (missing := sorted(set(layers) - set(able))):
        raise InputError(
            f"arm.layers names layer {missing[0]}, which the father has no plain FFN in (it has {len(able)})"
        )
    if place == "read" or layers == "read" or (layers is None and place == "subject"):
        shares = _shares(context)
        first_half = sum(index < len(context.father.anatomy.layers) // 2 for index in able)
        if place == "read":
            at_answer = shares["answer"].max() >= READS or shares["subject"][:first_half].max() < READS
            place = "answer" if at_answer else "subject"
        if layers == "read" or (layers is None and place == "subject"):
            # What stands at a subject still has to reach the answer: layers behind must read it.
            count = len(able) if place == "answer" else max(1, first_half)
            layers = _readable(able[:count], shares[place][:count])
    if layers is None:
        layers = tuple(able[-max(1, round(settings.depth * len(able))) :])
    assert layers != "read"
    decided = {"place": place, "layers": tuple(sorted(set(layers)))}
    return replace(context, settings=settings.model_copy(update=decided))


def chosen_layers(context: Context) -> list[int]:
    """The father's layers that are refitted; errors as ``settle``."""
    layers = settle(context).settings.layers
    assert isinstance(layers, tuple)
    return list(layers)


def _shares(context: Context) -> dict[str, np.ndarray]:
    """Place -> (layers with an FFN,) share of questions that their neurons recognise in another wording."""
    wordings = choose_wordings(context.prompts, context.seed, context.protect)
    if not wordings:
        raise InputError(
            "arm.layers: read, arm.place: subject and read need prompts (arm.prompts) that are not protected, in two"
            " wordings or more: give them one pair"
        )
    return {place: hits.mean(1) for (place, site), hits in recognise(context.father, wordings).items() if site == "a"}


def _readable(layers: Sequence[int], shares: np.ndarray) -> tuple[int, ...]:
    """The layers around the best one that recognise nearly as many questions, up to where two in a row do not.

    All are solved for the state after the last one, so layers between them that stay as they are have to carry what
    those before changed (docs/decisions/0033).
    """
    nearly = np.flatnonzero(shares >= NEARLY * shares.max())
    runs = np.split(nearly, np.flatnonzero(np.diff(nearly) > GAP) + 1)
    (around,) = (run for run in runs if int(shares.argmax()) in run)
    return tuple(layers[index] for index in around)
