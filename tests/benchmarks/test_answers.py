from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.benchmarks import ChoiceItem, accuracy, gold_probability, item_hash, to_answers
from darwin_mri.errors import DarwinError


def item(gold: int, choices: int = 4) -> ChoiceItem:
    return ChoiceItem(
        key="k",
        context="Q Answer:",
        choices=tuple("abcde"[:choices]),
        gold=gold,
        cluster="cluster",
        slice="slice",
        benchmark="toy",
    )


@pytest.mark.parametrize(
    ("scores", "gold", "choice", "credit"),
    [
        ((-1.0, -2.0, -3.0, -4.0), 0, 0, 1.0),
        ((-1.0, -2.0, -3.0, -4.0), 1, 0, 0.0),
        ((-1.0, -1.0, -3.0, -4.0), 1, -1, 0.5),
        ((-1.0, -1.0, -3.0, -4.0), 2, -1, 0.0),
        ((0.0, 0.0, 0.0, 0.0), 0, -1, 0.25),
        ((-1.0, -1.0 - 1e-10, -3.0, -4.0), 0, -1, 0.5),
        ((-1.0, -1.0 - 1e-8, -3.0, -4.0), 0, 0, 1.0),
    ],
)
def test_choice_and_credit(scores: tuple[float, ...], gold: int, choice: int, credit: float) -> None:
    (answer,) = to_answers([item(gold)], [np.array(scores)])
    assert (answer.choice, answer.credit, answer.gold) == (choice, credit, gold)
    assert answer.log_probabilities == scores
    assert (answer.key, answer.cluster, answer.slice) == (item_hash(item(gold)), "cluster", "slice")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-800, 0), min_size=4, max_size=4))
def test_gold_probabilities_sum_to_one(scores: list[float]) -> None:
    items = [item(gold) for gold in range(4)]
    values = gold_probability(items, [np.array(scores)] * 4)
    assert values.sum() == pytest.approx(1.0)
    assert values.min() >= 0.0
    assert sum(answer.credit for answer in to_answers(items, [np.array(scores)] * 4)) == pytest.approx(1.0)


def test_accuracy() -> None:
    answers = to_answers([item(0), item(1)], [np.array([-1.0, -2.0, -2.0, -2.0])] * 2)
    assert accuracy(answers) == 0.5
    with pytest.raises(DarwinError):
        accuracy([])


@pytest.mark.parametrize(
    "scores", [[], [np.zeros(3)], [np.array([0.0, np.nan, 0.0, 0.0])], [np.array([0.0, -np.inf, 0, 0])]]
)
def test_wrong_or_broken_scores_are_refused(scores: list[np.ndarray]) -> None:
    with pytest.raises(DarwinError):
        to_answers([item(0)], scores)
    with pytest.raises(DarwinError):
        gold_probability([item(0)], scores)
