"""Anchors estimate the whole pool better than as many items drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from darwin_mri.breeding import Anchored, Anchors, choose_anchors

POOL = 300


def respond(ability: float, noise: np.ndarray) -> np.ndarray:
    """A toy item-response model: hard items are answered by able models."""
    difficulty = np.random.default_rng(0).normal(size=POOL)
    return 1 / (1 + np.exp(-3 * (ability - difficulty + noise)))


LOGGED = np.array([respond(ability, np.zeros(POOL)) for ability in (-1.0, 0.0, 0.5, 1.0)])


@pytest.mark.parametrize("count", [10, 20, 40])
def test_they_beat_random_items_of_the_same_number(count: int) -> None:
    rng = np.random.default_rng(count)
    anchors = choose_anchors(LOGGED, count, seed=1)
    ours, theirs = [], []
    for _ in range(200):
        candidate = respond(rng.uniform(-0.5, 1.5), rng.normal(0, 0.5, POOL))
        ours.append(anchors.estimate(candidate[list(anchors.items)].tolist()) - candidate.mean())
        theirs.append(candidate[rng.choice(POOL, count, replace=False)].mean() - candidate.mean())
    assert np.std(ours) < 0.8 * np.std(theirs) and abs(np.mean(ours)) < 0.03


def test_a_logged_model_is_estimated_as_it_is() -> None:
    anchors = choose_anchors(LOGGED, 30, seed=1)
    for scores in LOGGED:
        assert anchors.estimate(scores[list(anchors.items)].tolist()) == pytest.approx(scores.mean(), abs=0.02)


def test_a_pool_no_larger_is_asked_whole_and_its_mean_is_the_estimate() -> None:
    anchors = choose_anchors(LOGGED[:, :20], 20, seed=1)
    scores = respond(0.3, np.zeros(POOL))[:20]
    assert anchors.items == tuple(range(20))
    assert Anchored(1, {"toy": 1.0}, {"toy": anchors})({"toy": list(scores)})[0] == pytest.approx(scores.mean())


def test_models_that_all_agree_give_anchors_all_the_same() -> None:
    same = choose_anchors(np.full((3, 50), 0.5), 10, seed=0)
    assert sum(same.weights) == pytest.approx(1.0) and np.isfinite(same.estimate([0.7] * len(same.items)))


def test_the_same_seed_chooses_the_same_items() -> None:
    first, second = choose_anchors(LOGGED, 25, seed=4), choose_anchors(LOGGED, 25, seed=4)
    assert isinstance(first, Anchors) and (first.items, first.weights) == (second.items, second.weights)
