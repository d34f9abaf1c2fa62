"""The channel of where a father could be taught answers: layers whose states tell questions apart in other wordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.merging.arms.reading import PLACES, SITES, Wording, plain_layers, recognise
from darwin_mri.mri.reliability import bootstrap_weights, channel, estimates, permutation_p
from darwin_mri.records import Channel, Estimate, Reading

CHANNEL = "reading:"


def measure_reading(
    parent: LoadedModel,
    wordings: Sequence[Wording],
    resamples: int,
    seed: int,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[tuple[Reading | None, ...], dict[str, Channel]]:
    """How well each layer's FFN tells questions apart, with intervals over questions and a verdict on the differences.

    Args:
        parent: the model that reads.
        wordings: of the questions.
        resamples: of the bootstrap over questions.
        seed: of bootstrap and permutations.
        advance: called with 1 for each layer.

    Returns:
        (per layer the reading, None where it has no plain FFN; channel by place and site).
    """
    shares: dict[tuple[str, str], list[Estimate]] = {}
    channels = {}
    questions = 0
    for (place, site), table in recognise(parent, wordings, advance).items():
        questions = table.shape[1]
        name = f"{CHANNEL}{place}:{site}"
        resampled = bootstrap_weights(questions, resamples, seed, name) @ table.T / questions  # (resamples, layers)
        shares[place, site] = estimates(table.mean(1), resampled)
        p_value = permutation_p(table, lambda shuffled: shuffled.mean(1), name=name, seed=seed)
        channels[name] = channel(table.mean(1), resampled, p_value, questions)
    readings: list[Reading | None] = [None] * len(parent.anatomy.layers)
    for row, index in enumerate(plain_layers(parent)):
        answer, subject = ({site: shares[place, site][row] for site in SITES} for place in PLACES)
        readings[index] = Reading(questions=questions, answer=answer, subject=subject)
    return tuple(readings), channels
