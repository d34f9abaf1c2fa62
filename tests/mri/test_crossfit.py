"""Cross-fitting: all the way where items agree, not at all where they do not, and never below what is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.mri import CrossFit, cross_fit, descend

BLOCKS, UPPER = 8, 1.5
Reader = Callable[[np.ndarray, Sequence[int]], tuple[np.ndarray, np.ndarray]]


def bowls(centre: np.ndarray, noise: float, seed: int) -> Reader:
    """Blocks whose losses are round bowls with their lowest points around a centre."""
    rng = np.random.default_rng(seed)
    centres = centre + noise * rng.normal(size=(BLOCKS, len(centre)))

    def read(ratios: np.ndarray, blocks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        away = np.broadcast_to(ratios, len(centre)) - centres[list(blocks)]  # (blocks, genes)
        return away, (away**2).sum(1) / 2

    return read


def fit(read: Reader, genes: int, **changes: object) -> CrossFit:
    settings = {"known": (0.0, 0.5), "free": [True] * genes, "upper": UPPER, "steps": 10} | changes
    return cross_fit(read, BLOCKS, **settings)  # type: ignore[arg-type]


def test_what_all_items_say_is_followed_to_its_end() -> None:
    centre = np.array([0.2, 0.4, 1.2, 0.9])
    result = fit(bowls(centre, 0.0, 0), 4)
    assert result.share == pytest.approx(1.0, abs=0.02)
    assert result.mean == pytest.approx(centre, abs=0.02)
    assert result.uniform == pytest.approx(centre.mean(), abs=0.02)
    assert result.losses[2] < result.losses[0]


@pytest.mark.parametrize("seed", range(5))
def test_what_no_other_item_says_is_not_followed(seed: int) -> None:
    """Every block wants something else: each half's descent is worse for the other half."""
    result = fit(bowls(np.full(200, 0.7), 0.3, seed), 200)
    assert result.share < 0.35
    assert abs(result.uniform - 0.7) < 0.03
    assert ((result.mean - 0.7) ** 2).sum() < 0.25 * ((result.ratios - 0.7) ** 2).sum()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 1.0), st.floats(0.0, 0.4))
def test_it_is_seldom_worse_than_the_best_uniform_child_and_better_than_a_descent_in_noise(
    seed: int, noise: float, spread: float
) -> None:
    """On the truth, not on the items: at most a little above the uniform child, and no worse than a plain descent."""
    centre = 0.75 + spread * np.random.default_rng(seed + 1).uniform(-1, 1, 60)
    read = bowls(centre, noise, seed)
    result = fit(read, 60)

    def truth(ratios: np.ndarray) -> float:
        return float(((ratios - centre) ** 2).sum())

    def everything(ratios: np.ndarray) -> tuple[float, np.ndarray]:
        slopes, losses = read(ratios, range(BLOCKS))
        return float(losses.mean()), slopes.mean(0)

    start = np.full(60, result.uniform)
    plain = descend(everything, start, everything(start), [True] * 60, upper=UPPER, steps=10).ratios
    noise_of_a_mean = 60 * noise**2 / BLOCKS
    assert truth(result.mean) <= min(truth(start), truth(plain)) + 0.6 * noise_of_a_mean


def test_frozen_genes_stay_at_zero_and_take_no_part_in_the_uniform_ratio() -> None:
    centre = np.array([1.4, 0.3, 0.5])
    result = fit(bowls(centre, 0.0, 0), 3, free=[False, True, True])
    assert result.ratios[0] == 0.0
    assert result.uniform == pytest.approx(0.4, abs=0.02)


def test_without_steps_the_better_known_ratio_is_all() -> None:
    result = fit(bowls(np.array([0.5, 0.6]), 0.0, 0), 2, steps=0)
    assert result.uniform == 0.5 and result.mean.tolist() == [0.5, 0.5]
