from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from darwin_mri.stats import StatsError
from darwin_mri.stats.intervals import clustered_error, clustered_interval
from darwin_mri.stats.paired import (
    ClusterTotals,
    bootstrap_means,
    composite_detectable,
    difference_interval,
    effects,
    holm,
    mcnemar_exact,
    percentile_interval,
    sign_flip_p_value,
)

CLUSTERS = st.lists(st.tuples(st.integers(-3, 3), st.integers(3, 5)), min_size=1, max_size=20)


def totals(pairs: list[tuple[int, int]]) -> ClusterTotals:
    sums, sizes = zip(*pairs, strict=True)
    return ClusterTotals(np.array(sums, dtype=float), np.array(sizes, dtype=float))


def test_totals_add_up_items_by_cluster() -> None:
    by_cluster = ClusterTotals.of([1.0, 0.5, -1.0, 0.25], ["a", "b", "a", "b"])
    assert by_cluster.sums.tolist() == [0.0, 0.75]
    assert by_cluster.sizes.tolist() == [2.0, 2.0]
    assert (by_cluster.n, float(by_cluster.means)) == (4, 0.1875)
    with pytest.raises(StatsError, match="one cluster per item"):
        ClusterTotals.of([1.0], ["a", "b"])


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_statsmodels(wins: int, losses: int) -> None:
    reference: Any = mcnemar([[5, wins], [losses, 5]], exact=True)
    expected = float(reference.pvalue) if wins + losses else 1.0
    assert mcnemar_exact(wins, losses) == pytest.approx(min(1.0, expected), abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_holm_equals_statsmodels(count: int) -> None:
    p_values = np.random.default_rng(count).random(count) ** 3
    reference: Any = multipletests(p_values, method="holm")[1]
    assert holm(p_values.tolist()) == pytest.approx(reference.tolist(), abs=1e-12)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12))
def test_holm_only_raises_p_values_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(raw <= new <= 1 for raw, new in zip(p_values, adjusted, strict=True))
    assert sorted(adjusted) == [adjusted[index] for index in np.argsort(p_values, kind="stable")]


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_bootstrap_agrees_with_the_clustered_error() -> None:
    rng = np.random.default_rng(5)
    sizes = rng.integers(1, 5, size=300).astype(float)
    sums = rng.binomial(sizes.astype(int), rng.beta(2, 2, size=300)).astype(float)
    samples = bootstrap_means(ClusterTotals(sums, sizes), np.random.default_rng(1))
    assert samples.std() == pytest.approx(clustered_error(sums, sizes), rel=0.03)
    assert samples.mean() == pytest.approx(sums.sum() / sizes.sum(), abs=0.002)


def test_chunks_resample_whole_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darwin_mri.stats.paired._CHUNK", 7)
    both = ClusterTotals(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([2.0, 3.0]))
    samples = bootstrap_means(both, np.random.default_rng(0), 50)
    assert samples.shape == (50, 2)
    assert {tuple(np.round(row, 9)) for row in samples} == {(1.0, 0.0), (0.0, 1.0), (0.4, 0.6)}


@given(CLUSTERS, st.integers(0, 5))
def test_p_value_is_a_probability_and_symmetric(pairs: list[tuple[int, int]], seed: int) -> None:
    forward = effects([(totals(pairs), 1.0)])
    one = sign_flip_p_value(forward, np.random.default_rng(seed), resamples=199)
    assert 0 < one <= 1
    assert one == sign_flip_p_value(-forward, np.random.default_rng(seed), resamples=199)
    up = sign_flip_p_value(forward, np.random.default_rng(seed), "greater", resamples=199)
    assert 0 < up <= 1


def test_sign_flips_agree_with_enumeration() -> None:
    values = np.array([3.0, 1.0, 2.0, -1.0, 2.0, 1.0, -2.0, 3.0]) / 20
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    exact = float((np.abs(signs.T @ values) >= values.sum() - 1e-9).mean())
    assert sign_flip_p_value(values, np.random.default_rng(0)) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p_value(np.zeros(4), np.random.default_rng(0)) == 1.0


def test_sign_flips_reject_a_true_null_one_time_in_twenty() -> None:
    rng = np.random.default_rng(8)
    rejected = sum(
        sign_flip_p_value(rng.integers(-2, 3, size=40) / 100.0, rng, resamples=199) <= 0.05 for _ in range(400)
    )
    assert rejected / 400 <= 0.08


def test_effects_of_a_composite_add_up_and_so_do_its_variances() -> None:
    rng = np.random.default_rng(2)
    one = ClusterTotals(rng.integers(-2, 4, size=80).astype(float), np.full(80, 4.0))
    two = ClusterTotals(rng.integers(-1, 2, size=150).astype(float), np.ones(150))
    parts = [(one, 0.6), (two, 0.4)]
    assert effects(parts).sum() == pytest.approx(0.6 * float(one.means) + 0.4 * float(two.means))
    for shares in ((True, True), (True, False), (False, False)):
        least = [totals.detectable(share=share) for totals, share in zip((one, two), shares, strict=True)]
        assert composite_detectable(parts, shares) == pytest.approx(np.hypot(0.6 * least[0], 0.4 * least[1]))


def test_percentile_interval_is_widened_to_its_estimate() -> None:
    assert percentile_interval(np.full(10, 0.5), 0.4) == (0.4, 0.5)


def test_the_interval_of_one_benchmarks_difference_is_students() -> None:
    rng = np.random.default_rng(4)
    one = ClusterTotals(rng.integers(-2, 4, size=12).astype(float), rng.integers(3, 9, size=12).astype(float))
    assert difference_interval([(one, 1.0)]) == pytest.approx(clustered_interval(one.sums, one.sizes, share=False))


def test_a_benchmark_of_few_clusters_widens_by_what_it_adds_to_the_variance() -> None:
    rng = np.random.default_rng(4)
    few = ClusterTotals(np.array([3.0, -2.0, 1.0, 0.0]), np.full(4, 10.0))
    many = ClusterTotals(rng.integers(-1, 2, size=300).astype(float), np.ones(300))

    def width(*parts: tuple[ClusterTotals, float]) -> float:
        low, high = difference_interval(parts)
        return high - low

    assert width((few, 1e-6), (many, 1.0)) == pytest.approx(width((many, 1.0)), rel=1e-3)
    assert width((few, 1.0), (many, 1e-6)) == pytest.approx(width((few, 1.0)), rel=1e-3)
    assert width((few, 0.5), (many, 0.5)) < 0.5 * np.hypot(width((few, 1.0)), width((many, 1.0)))


def test_without_spread_the_difference_is_all_that_is_known() -> None:
    same = ClusterTotals(np.array([2.0, 2.0]), np.array([4.0, 4.0]))
    alone = ClusterTotals(np.array([3.0]), np.array([6.0]))
    assert difference_interval([(same, 0.5), (alone, 0.5)]) == (0.5, 0.5)
