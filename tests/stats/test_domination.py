"""Domination, crowding, and knee, against pymoo and against what they must be by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from darwin_mri.stats.domination import choose, crowding, knee, non_dominated, thin

# Few different values, so that ties and duplicates are common.
POINTS = st.tuples(st.integers(1, 14), st.integers(2, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 9).map(lambda value: value / 8))
)


@settings(deadline=None)
@given(POINTS)
def test_the_front_is_pymoos(points: np.ndarray) -> None:
    sorting = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    first = sorting.NonDominatedSorting().do(-points, only_non_dominated_front=True)
    assert sorted(map(int, first)) == list(np.flatnonzero(non_dominated(points)))


@settings(deadline=None)
@given(POINTS)
def test_the_crowding_distance_is_pymoos(points: np.ndarray) -> None:
    metrics = pytest.importorskip("pymoo.operators.survival.rank_and_crowding.metrics")
    distinct = points[non_dominated(points)]
    if len(distinct) < 3 or any(len(np.unique(column)) < len(column) for column in distinct.T):
        return  # both ends alone; or ties, which pymoo breaks in an order of its own
    theirs = metrics.calc_crowding_distance(-distinct, filter_out_duplicates=False)
    mine = crowding(distinct)
    assert np.array_equal(np.isinf(theirs), np.isinf(mine))
    inner = ~np.isinf(mine)
    assert theirs[inner] * points.shape[1] == pytest.approx(mine[inner])  # theirs is the mean over the objectives


@settings(deadline=None)
@given(POINTS, st.integers(1, 6))
def test_a_thinned_front_keeps_its_ends_and_its_size(points: np.ndarray, size: int) -> None:
    front = points[non_dominated(points)]
    kept = thin(front, size)
    assert kept == sorted(set(kept)) and len(kept) == min(size, len(np.unique(front, axis=0)))
    if size >= 2 and front.shape[1] == 2:
        assert (front[kept].max(axis=0) == front.max(axis=0)).all()


def test_the_knee_is_farthest_from_the_line_through_the_ends() -> None:
    front = np.array([[1.0, 0.0], [0.9, 0.5], [0.7, 0.8], [0.3, 0.9], [0.0, 1.0]])
    assert int(np.argmax(knee(front))) == 2
    assert int(np.argmax(knee(front * [100.0, 0.01] - [7.0, 3.0]))) == 2  # units do not matter
    assert choose(front, (0.5, 0.5), by_knee=True) == 2


def test_three_objectives_have_a_plane_and_a_fallback() -> None:
    ends = np.eye(3)
    assert int(np.argmax(knee(np.vstack([ends, [[0.6, 0.6, 0.6], [0.2, 0.2, 0.9]]])))) == 3
    twice = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.7, 0.7, 0.7]])  # the best of two objectives at once
    assert int(np.argmax(knee(twice))) == 2


def test_weights_choose_by_their_sum_and_never_a_dominated_member() -> None:
    points = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.05, 0.9]])
    assert choose(points, (3.0, 1.0), by_knee=False) == 0
    assert choose(points, (0.0, 1.0), by_knee=False) == 2
    assert choose(points[:2], (0.2, 0.8), by_knee=True) == 1  # two ends lie on the line: the weights settle it
