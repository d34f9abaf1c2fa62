"""From log-probabilities to answers, accuracy and the smooth fitness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darwin_mri.benchmarks.items import ChoiceItem, item_hash
from darwin_mri.errors import BrokenModel, DarwinError
from darwin_mri.records import Answer

TIE = 1e-9  # nats


def to_answers(
    items: Sequence[ChoiceItem], log_probabilities: Sequence[np.ndarray], protocol: str = ""
) -> list[Answer]:
    """One answer per item: its most probable choice. A tie of k is no choice and earns 1/k if it holds the gold.

    Where choices differ in length both accuracies are kept in ``metrics``: by summed log-probability (acc) and by
    log-probability per character of the choice (acc_norm, as lm-eval counts it); ``ChoiceItem.per_character`` says
    which is the headline.

    Args:
        items: n items.
        log_probabilities: n arrays, one log-probability (nats) per choice.
        protocol: hash of the protocol, kept in every answer.

    Returns:
        The answers, in the order of the items.

    Raises:
        DarwinError: counts differ.
        BrokenModel: a log-probability is not finite.
    """
    answers = []
    for item, scores in _paired(items, log_probabilities):
        lengths = np.array([len(choice) for choice in item.choices])
        choice, credit = best_choice(scores / lengths if item.per_character else scores, item.gold)
        metrics = {}
        if len(set(lengths)) > 1:
            metrics = {
                "acc": best_choice(scores, item.gold)[1],
                "acc_norm": best_choice(scores / lengths, item.gold)[1],
            }
        answers.append(
            Answer(
                key=item_hash(item),
                cluster=item.cluster,
                slice=item.slice,
                gold=item.gold,
                choice=choice,
                credit=credit,
                log_probabilities=tuple(float(s) for s in scores),
                protocol=protocol,
                choices=len(item.choices),
                metrics=metrics,
            )
        )
    return answers


def best_choice(scores: np.ndarray, gold: int) -> tuple[int, float]:
    """The highest of ``scores`` (choices,) and its credit; (-1, 1/k or 0) for a tie of k."""
    tied = np.flatnonzero(scores >= scores.max() - TIE)
    return int(tied[0]) if len(tied) == 1 else -1, 1.0 / len(tied) if gold in tied else 0.0


def gold_probability(items: Sequence[ChoiceItem], log_probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """The probability of the gold choice among the choices (softmax), shape (n,): it ranks models that accuracy ties.

    Items whose headline goes by character compare log-probabilities per character, times the mean length, so that the
    softmax has the temperature of sums and its argmax is the headline's.

    Raises:
        DarwinError: counts differ.
        BrokenModel: a log-probability is not finite.
    """
    values = []
    for item, scores in _paired(items, log_probabilities):
        scores = scores * choice_scales(item)
        weights = np.exp(scores - scores.max())
        values.append(weights[item.gold] / weights.sum())
    return np.array(values, dtype=np.float64)


def choice_scales(item: ChoiceItem) -> np.ndarray:
    """Factors of the log-probabilities before choices are compared, (choices,): 1, or mean length / length."""
    lengths = np.array([len(choice) for choice in item.choices], dtype=np.float64)
    return lengths.mean() / lengths if item.per_character else np.ones(len(lengths))


def accuracy(answers: Sequence[Answer]) -> float:
    """Mean credit, a fraction.

    Raises:
        DarwinError: there are no answers.
    """
    if not answers:
        raise DarwinError("accuracy of no answers is not defined: score some items first")
    return sum(answer.credit for answer in answers) / len(answers)


def _paired(
    items: Sequence[ChoiceItem], log_probabilities: Sequence[np.ndarray]
) -> list[tuple[ChoiceItem, np.ndarray]]:
    if len(items) != len(log_probabilities):
        raise DarwinError(f"{len(items)} items but {len(log_probabilities)} scores: pass the items that were scored")
    pairs = []
    for item, scores in zip(items, log_probabilities, strict=True):
        scores = np.asarray(scores, dtype=np.float64)
        if scores.shape != (len(item.choices),):
            raise DarwinError(
                f"{item.name}: {scores.size} scores for {len(item.choices)} choices: pass the items that were scored"
            )
        if not np.isfinite(scores).all():
            raise BrokenModel(f"{item.name}: a log-probability is not finite: the model is broken")
        pairs.append((item, scores))
    return pairs
