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
def test_anchors_beat_as_many_random_items(count: int) -> None:
    rng = np.random.default_rng(count)
    anchors = choose_anchors(LOGGED, count, seed=1)
    anchored, random = [], []
    for _ in range(200):
        candidate = respond(rng.uniform(-0.5, 1.5), rng.normal(0, 0.5, POOL))
        anchored.append(anchors.estimate(candidate[list(anchors.items)].tolist()) - candidate.mean())
        random.append(candidate[rng.choice(POOL, count, replace=False)].mean() - candidate.mean())
    assert np.std(anchored) < 0.8 * np.std(random) and abs(np.mean(anchored)) < 0.03


def test_a_logged_models_score_is_estimated_closely() -> None:
    anchors = choose_anchors(LOGGED, 30, seed=1)
    for scores in LOGGED:
        assert anchors.estimate(scores[list(anchors.items)].tolist()) == pytest.approx(scores.mean(), abs=0.02)


def test_all_items_of_a_small_pool_are_anchors() -> None:
    anchors = choose_anchors(LOGGED[:, :20], 20, seed=1)
    scores = respond(0.3, np.zeros(POOL))[:20]
    assert anchors.items == tuple(range(20))
    assert Anchored(1, {"toy": 1.0}, {"toy": anchors})({"toy": list(scores)})[0] == pytest.approx(scores.mean())


def test_equal_scores_on_every_item_still_give_anchors() -> None:
    same = choose_anchors(np.full((3, 50), 0.5), 10, seed=0)
    assert sum(same.weights) == pytest.approx(1.0) and np.isfinite(same.estimate([0.7] * len(same.items)))


def test_the_same_seed_chooses_the_same_items() -> None:
    first, second = choose_anchors(LOGGED, 25, seed=4), choose_anchors(LOGGED, 25, seed=4)
    assert isinstance(first, Anchors) and (first.items, first.weights) == (second.items, second.weights)
