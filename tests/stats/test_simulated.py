"""The statistics on simulated benchmarks of known truth; a fraction of what ``python -m tests.stats.simulate`` runs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.stats.simulate import measure, sit


@pytest.mark.parametrize("accuracy", [0.3, 0.9])
def test_the_simulated_truth_is_the_mean_over_many_clusters(accuracy: float) -> None:
    (answers,) = sit(np.random.default_rng(1), (2,) * 12_000, [accuracy])
    assert np.mean([answer.credit for answer in answers]) == pytest.approx(accuracy, abs=0.013)


def test_intervals_cover_and_vigor_is_not_claimed_for_equals() -> None:
    counts = measure(pairs=80, seed=2, resamples=499)
    for kind in ("score interval, all", "contrast interval, all"):
        held, of = counts[kind]
        assert of == 160 and 0.89 <= held / of <= 0.995  # three standard errors around 95 %
    claimed, of = counts["false vigor, all"]
    assert of == 80 and claimed / of <= 0.12
