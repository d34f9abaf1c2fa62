from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from darwin_mri.stats import StatsError
from darwin_mri.stats.distributions import student_quantile
from darwin_mri.stats.intervals import (
    clustered_degrees,
    clustered_error,
    clustered_interval,
    detectable_difference,
    wilson,
)


@pytest.mark.parametrize(("correct", "n"), [(0, 7), (1, 3), (128, 198), (756, 756), (250, 1995)])
def test_wilson_equals_statsmodels(correct: int, n: int) -> None:
    assert wilson(correct, n) == pytest.approx(proportion_confint(correct, n, method="wilson"), abs=1e-12)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.floats(0, n), st.just(n))))
def test_wilson_holds_its_estimate_inside_the_unit_interval(case: tuple[float, int]) -> None:
    low, high = wilson(*case)
    assert 0 <= low <= case[0] / case[1] <= high <= 1
    assert high > low


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (4, 3), (-1, 3)])
def test_wilson_refuses_the_impossible(correct: float, n: int) -> None:
    with pytest.raises(StatsError, match="at least one item"):
        wilson(correct, n)


@pytest.mark.parametrize("even", [True, False])
def test_clustered_error_is_that_of_bell_and_mccaffrey(even: bool) -> None:
    """Against the matrices of their paper, for a regression on a constant; even clusters also against statsmodels."""
    rng = np.random.default_rng(3)
    sizes = np.full(20, 3) if even else rng.integers(1, 12, size=20)
    groups = np.repeat(np.arange(20), sizes)
    values = (rng.random(len(groups)) < np.repeat(rng.random(20), sizes)).astype(float)
    sums, n = np.bincount(groups, weights=values), len(values)
    constant, hat = np.ones((n, 1)), np.full((n, n), 1 / n)  # X, X (X'X)^-1 X'
    rows: list[np.ndarray] = []
    for cluster in range(20):
        own = groups == cluster
        own_hat = np.linalg.eigh(np.eye(int(own.sum())) - hat[np.ix_(own, own)])
        adjusted = own_hat.eigenvectors @ np.diag(own_hat.eigenvalues**-0.5) @ own_hat.eigenvectors.T
        rows.append((np.eye(n) - hat)[own].T @ adjusted @ constant[own, 0] / n)  # (items,)
    crossed = np.array(rows) @ np.array(rows).T  # (clusters, clusters)
    assert clustered_error(sums, sizes) == pytest.approx(float(np.linalg.norm(np.array(rows) @ values)), abs=1e-12)
    degrees = float(np.trace(crossed) ** 2 / (crossed**2).sum())
    assert clustered_degrees(sizes) == pytest.approx(degrees)
    low, high = clustered_interval(sums, sizes, share=False)
    assert (high - low) / 2 == pytest.approx(student_quantile(degrees, 0.975) * clustered_error(sums, sizes))
    if even:
        fit = sm.OLS(values, constant).fit(
            cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True, "df_correction": True}, use_t=True
        )
        assert (low, high) == pytest.approx(fit.conf_int()[0].tolist(), abs=1e-9)
        assert degrees == pytest.approx(19)


def test_a_fraction_in_clusters_is_wilsons_over_the_effective_items() -> None:
    sums, sizes = np.array([4.0, 4.0, 3.0, 4.0, 2.0, 4.0]), np.full(6, 4.0)
    effective = 21 / 24 * 3 / 24 / clustered_error(sums, sizes) ** 2
    assert effective < 24
    assert clustered_interval(sums, sizes) == wilson(21 / 24 * effective, effective, degrees=5)


def test_degrees_of_freedom_count_what_the_mean_rests_on() -> None:
    assert clustered_degrees([1.0] * 40) == pytest.approx(39)
    assert 1 < clustered_degrees([60, 30, *[10] * 3, *[2] * 25]) < 6


@given(st.lists(st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=40))
def test_clustered_interval_holds_its_estimate(clusters: list[tuple[int, int]]) -> None:
    sums, sizes = zip(*clusters, strict=True)
    low, high = clustered_interval(sums, sizes)
    assert 0 <= low <= sum(sums) / sum(sizes) + 1e-12
    assert sum(sums) / sum(sizes) - 1e-12 <= high <= 1
    assert high > low


def test_agreeing_clusters_fall_back_to_wilson_over_clusters() -> None:
    assert clustered_interval([2, 2, 2], [2, 2, 2]) == wilson(3, 3)
    assert clustered_interval([1, 1, 1, 1], [2, 2, 2, 2]) == wilson(2, 4)
    assert clustered_interval([3], [4]) == wilson(0.75, 1)
    with pytest.raises(StatsError, match="two clusters"):
        clustered_error([3], [4])


@pytest.mark.parametrize("size", [1, 3])
def test_intervals_cover_the_truth(size: int) -> None:
    """95 % intervals hold the true accuracy in about 95 % of 400 simulated benchmarks."""
    rng = np.random.default_rng(size)
    covered = 0
    for _ in range(400):
        difficulty = rng.beta(4, 2, size=120)  # mean 2/3
        sums = rng.binomial(size, difficulty) if size > 1 else rng.binomial(1, 2 / 3, size=120)
        low, high = wilson(float(sums.sum()), 120) if size == 1 else clustered_interval(sums, np.full(120, size))
        covered += low <= 2 / 3 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_detectable_difference_is_the_textbook_one() -> None:
    assert detectable_difference(0.10, 1995) == pytest.approx(2.8016 * math.sqrt(0.10 / 1995), rel=1e-4)
    assert round(100 * detectable_difference(0.20, 756), 1) == 4.6
    assert detectable_difference(0.0, 50) == detectable_difference(1 / 50, 50)
    assert detectable_difference(1.0, 1) == 1.0


def test_detectable_difference_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    n, discordance = 600, 0.2
    effect = detectable_difference(discordance, n)
    chances = [(discordance + effect) / 2, (discordance - effect) / 2, 1 - discordance]
    counts = rng.multinomial(n, chances, size=2000)
    z = (counts[:, 0] - counts[:, 1]) / np.sqrt(counts[:, 0] + counts[:, 1])
    assert 0.75 <= float((z > 1.96).mean()) <= 0.85


def test_one_cluster_bounds_no_mean_that_is_no_fraction() -> None:
    assert clustered_interval([-3.0], [4.0], share=False) == (-math.inf, math.inf)
    low, high = clustered_interval([-3.0, -5.0, -4.0], [4.0, 4.0, 4.0], share=False)
    assert low < -1.0 < high < 0
