"""From the metrics of an lm-eval task to one score for each document, higher is better."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from darwin_mri.benchmarks.kinds.lm_eval_tasks.subtask import Results, Subtask
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import aggregate, aggregation_kind
from darwin_mri.errors import InputError

UNITS = {
    "word_perplexity": "nats/word",
    "byte_perplexity": "nats/byte",
    "bits_per_byte": "nats/byte",
    "perplexity": "nats",
}
# Metrics that lm-eval takes over all documents at once.
OVER_ALL = ("f1", "mcc", "brier_score", "likelihood", "bleu", "chrf", "chrf++", "ter", "acc_all", "bypass")
LENGTHS = {"acc_norm": len, "acc_bytes": lambda choice: len(choice.encode("utf-8"))}
Key = tuple[str, str]


def document_score(subtask: Subtask, metric: str, value: Any) -> float | None:
    """A document's value of a metric as a score; None where it is none.

    Args:
        subtask: whose metric it is.
        metric: its name.
        value: a number; for perplexities a log-probability, or one with the bytes or words it is of.

    Returns:
        The number, negated where lower is better; a log-probability in nats, per byte or word where it has a weight.
    """
    kind = aggregation_kind(subtask.task, metric)
    if kind == "weighted":
        return float(value[0]) / value[1]
    if not isinstance(value, (Real, np.number, np.bool_)):
        return None
    better = subtask.task.higher_is_better().get(metric)
    return -float(value) if better is False and kind == "value" else float(value)


def scores_of(subtask: Subtask, results: Results) -> dict[Key, float]:
    """The metrics that are a number for each document, as ``document_score``, in the order the task lists them."""
    listed = [*subtask.task.aggregation()]
    order = sorted(results, key=lambda key: listed.index(key[0]) if key[0] in listed else len(listed))
    scores = {key: document_score(subtask, key[0], results[key]) for key in order}
    return {key: score for key, score in scores.items() if score is not None}


def choose_key(subtask: Subtask, wanted: str, results: Results, where: str) -> Key:
    """The metric, and the filter, that are the score.

    Args:
        subtask: of the documents.
        wanted: ``metric`` or ``metric,filter``; empty for the first that is a number for each document.
        results: of a document.
        where: the task stands, for messages.

    Returns:
        (metric, filter).

    Raises:
        InputError: it is not there, or is no number for each document; the message offers those that are.
    """
    scores = scores_of(subtask, results)
    offered = ", ".join(dict.fromkeys(_named(key, results) for key in scores))
    metric, _, filtered = wanted.partition(",")
    for key in scores:
        if not wanted or (metric == key[0] and filtered in ("", key[1])):
            return key
    advice = f"choose metric: {offered}" if offered else "it has no metric that is"
    if not wanted or any(metric == key[0] and filtered in ("", key[1]) for key in results):
        what = f"metric '{metric}'" if wanted else "what it measures"
        raise InputError(
            f"{where}: {what} of {subtask.name} is taken over all documents, and a search needs a number for each: "
            + advice
        )
    raise InputError(f"{where}: {subtask.name} has no metric '{wanted}': {advice}")


def named_scores(subtask: Subtask, scores: Mapping[Key, float], unit: str) -> dict[str, float]:
    """Scores of one unit by name.

    Args:
        subtask: of the document.
        scores: as ``scores_of``.
        unit: of the headline: others would be read as if they had it.

    Returns:
        Metric, with its filter where there are several, -> score; empty where there is only the headline.
    """
    better = subtask.task.higher_is_better()
    alike = {key: score for key, score in scores.items() if unit_of(key[0], better.get(key[0])) == unit}
    return {_named(key, scores): score for key, score in alike.items()} if len(alike) > 1 else {}


def unit_of(metric: str, higher_is_better: object = True) -> str:
    """The unit of a metric's scores: empty for a fraction, and the metric's name where lower values are better."""
    return UNITS.get(metric, metric if higher_is_better is False else "")


def choice_values(key: Key, choices: Sequence[str], log_probabilities: Sequence[float]) -> np.ndarray:
    """What the choices of a document are compared by.

    Args:
        key: the metric, and the filter.
        choices: n texts.
        log_probabilities: of the n choices; then, for mutual information, of each without its context.

    Returns:
        (n,) nats; where a metric goes by length, as if all choices had the mean length.
    """
    values = np.array(log_probabilities, dtype=np.float64)
    if len(values) == 2 * len(choices):
        values, alone = values[: len(choices)], values[len(choices) :]
        if key[0] == "acc_mutual_info":
            return values - alone
    return values * length_scales(key, choices)


def length_scales(key: Key, choices: Sequence[str]) -> np.ndarray:
    """Factors (n,) of the choices' log-probabilities before a metric compares them."""
    if key[0] not in LENGTHS:
        return np.ones(len(choices))
    lengths = np.array([float(LENGTHS[key[0]](choice)) for choice in choices])
    return lengths.mean() / lengths


def gold_share(values: np.ndarray, golds: Iterable[int]) -> float:
    """Softmax probability of the right choices."""
    weights = np.exp(values - values.max())
    return float(sum(weights[gold] for gold in golds) / weights.sum())


def per_token(log_probability: float, tokens: int) -> float:
    """Geometric mean of a text's token probabilities."""
    return math.exp(log_probability / tokens)


def aggregated(rows: Sequence[tuple[Subtask, Results]]) -> dict[str, dict[str, Any]]:
    """The metrics of all documents as lm-eval's ``evaluate`` reports them.

    Args:
        rows: each document's task and results, in the order of the documents.

    Returns:
        Task -> ``metric,filter`` -> value.
    """
    values: dict[Subtask, dict[Key, list[Any]]] = {}
    for subtask, results in rows:
        for key, value in results.items():
            values.setdefault(subtask, {}).setdefault(key, []).append(value)
    return {
        subtask.name: {",".join(key): aggregate(subtask.task, key[0], listed) for key, listed in of.items()}
        for subtask, of in values.items()
    }


def _named(key: Key, among: Mapping[Key, Any]) -> str:
    return key[0] if len({filtered for _, filtered in among}) == 1 else ",".join(key)
