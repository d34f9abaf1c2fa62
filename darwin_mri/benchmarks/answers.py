"""From log-probabilities to answers, accuracy and the smooth fitness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from darwin_mri.benchmarks.items import Item, item_hash
from darwin_mri.errors import DarwinError
from darwin_mri.records import Answer

TIE = 1e-9  # nats


def to_answers(items: Sequence[Item], log_probabilities: Sequence[np.ndarray]) -> list[Answer]:
    """One answer per item: the most probable choice; a tie of k choices is no choice and earns 1/k if it holds the gold.

    Args:
        items: n items.
        log_probabilities: n arrays, one log-probability (nats) per choice.

    Raises:
        DarwinError: counts differ, or a log-probability is not finite.
    """
    answers = []
    for item, scores in _paired(items, log_probabilities):
        tied = np.flatnonzero(scores >= scores.max() - TIE)
        answers.append(
            Answer(
                key=item_hash(item),
                cluster=item.cluster,
                slice=item.slice,
                gold=item.gold,
                choice=int(tied[0]) if len(tied) == 1 else -1,
                credit=1.0 / len(tied) if item.gold in tied else 0.0,
                log_probabilities=tuple(float(s) for s in scores),
            )
        )
    return answers


def gold_probability(items: Sequence[Item], log_probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """The probability of the gold choice among the choices (softmax), shape (n,): it ranks models that accuracy ties.

    Raises:
        DarwinError: counts differ, or a log-probability is not finite.
    """
    values = []
    for item, scores in _paired(items, log_probabilities):
        weights = np.exp(scores - scores.max())
        values.append(weights[item.gold] / weights.sum())
    return np.array(values, dtype=np.float64)


def accuracy(answers: Sequence[Answer]) -> float:
    """Mean credit, a fraction.

    Raises:
        DarwinError: there are no answers.
    """
    if not answers:
        raise DarwinError("accuracy of no answers is not defined: score some items first")
    return sum(answer.credit for answer in answers) / len(answers)


def _paired(items: Sequence[Item], log_probabilities: Sequence[np.ndarray]) -> list[tuple[Item, np.ndarray]]:
    if len(items) != len(log_probabilities):
        raise DarwinError(f"{len(items)} items but {len(log_probabilities)} scores: pass the items that were scored")
    pairs = []
    for item, scores in zip(items, log_probabilities, strict=True):
        scores = np.asarray(scores, dtype=np.float64)
        if scores.shape != (len(item.choices),):
            raise DarwinError(
                f"{item.benchmark} item {item.key}: {scores.size} scores for {len(item.choices)} choices: "
                "pass the items that were scored"
            )
        if not np.isfinite(scores).all():
            raise DarwinError(f"{item.benchmark} item {item.key}: a log-probability is not finite: the model is broken")
        pairs.append((item, scores))
    return pairs
