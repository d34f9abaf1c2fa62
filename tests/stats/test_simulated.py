"""The statistics on simulated runs of known truth; a fraction of what ``python -m experiments.null_runs`` runs."""

from __future__ import annotations

import numpy as np
import pytest

from darwin_mri.records.roles import PARENTS
from experiments.null_answers import Bench, draw_scores
from experiments.null_runs import SCENARIOS, bounds, measure, show


@pytest.mark.parametrize("accuracy", [0.03, 0.3, 0.9])
def test_the_simulated_truth_is_the_mean_over_many_clusters(accuracy: float) -> None:
    bench = Bench("click", (2,) * 12_000, chance=0.0 if accuracy < 0.25 else 0.25)
    scores = draw_scores(np.random.default_rng(1), bench, {"child": accuracy, "father": accuracy}, copied=0.5)
    for own in scores.values():
        assert own.mean() == pytest.approx(accuracy, abs=0.013)


@pytest.mark.parametrize("noise", ["even", "rare losses", "rare gains", "breakdowns"])
def test_the_simulated_truth_of_nll_is_its_mean(noise: str) -> None:
    bench = Bench("ko", (1,) * 40_000, None, noise=noise)  # pyright: ignore[reportArgumentType]
    (scores,) = draw_scores(np.random.default_rng(1), bench, {"child": -1.0}).values()
    assert scores.mean() == pytest.approx(-1.0, abs=0.006)


@pytest.mark.parametrize("name", ["one parent 5 points behind", "uneven clusters, own strengths", "near 0"])
def test_intervals_cover_and_vigor_is_not_claimed_for_equals(name: str) -> None:
    """By Student's t over all clusters alike, about 85 of 100 intervals of uneven clusters held the truth."""
    counts = measure(name, runs=120, seed=2, resamples=199)
    for kind, (held, of) in counts.items():
        if kind.startswith(("score", "contrast")) and kind != "score, slices":
            assert of == 120 and held / of >= 0.89, (kind, held)  # three standard errors below 95 %
    claimed, of = counts["false vigor"]
    assert of == 120 and claimed / of <= 0.11


@pytest.mark.parametrize("name", ["front of 12", "four children", "four parents, three behind", "NLL and accuracy"])
def test_every_kind_of_run_is_judged(name: str) -> None:
    scenario, counts = SCENARIOS[name], measure(name, runs=2, seed=1, resamples=99)
    assert counts["false vigor"][1] == 2 * scenario.children
    assert (scenario.children > 1) == ("false vigor of any child" in counts)
    assert len(scenario.behind) <= len(PARENTS)
    assert counts["score, composite"][1] == 2 * scenario.children
    assert len(show(counts)) == len(counts)


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    assert bounds(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert bounds(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = bounds(5, 100)
    assert (round(low, 4), round(high, 4)) == (0.0164, 0.1128)
