"""TIES' election among any number of parents: the one for two, the paper's mean, and what no order may change."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.errors import ConfigError
from darwin_mri.merging import blending
from darwin_mri.merging.methods.election import elect, elected_sign
from darwin_mri.merging.settings import DIVIDES

# The election for two loses precision where it divides by less: relative to the result about 1e-7 / |weight|.
sizes = st.floats(0.01, 2)
weights_of_one = sizes | sizes.map(lambda own: -own) | st.sampled_from([0.0, 1.0, -1.0, 1e-31])


def vectors(count: int, seed: int = 0, shape: tuple[int, ...] = (7, 33)) -> list[Tensor]:
    """Task vectors in steps of 1/64, a third of them 0: sums are exact, and some cancel."""
    generator = torch.Generator().manual_seed(seed)
    steps = [torch.randint(-8, 9, shape, generator=generator) for _ in range(count)]
    keep = [torch.rand(shape, generator=generator) < 0.7 for _ in range(count)]
    return [step * kept / 64 for step, kept in zip(steps, keep, strict=True)]


@pytest.mark.parametrize("divide", DIVIDES)
@given(weight=weights_of_one, ratio=weights_of_one, seed=st.integers(0, 1000))
def test_for_two_parents_it_is_the_operators_election(divide: str, weight: float, ratio: float, seed: int) -> None:
    father, mother = vectors(2, seed)
    one, two = father * weight, mother * ratio
    magnitude, sign = blending.elect(one, two, weight, ratio, divide)
    torch.testing.assert_close(elect([one, two], [weight, ratio], divide), magnitude * sign, rtol=3e-5, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_equal_weights_give_the_papers_mean(count: int) -> None:
    """Written out element by element: elect by mass, then average the values that have the elected sign."""
    parents = vectors(count)
    expected = torch.zeros_like(parents[0])
    for index in range(expected.numel()):
        values = [float(parent.flatten()[index]) for parent in parents]
        agree = [value for value in values if value * sum(values) > 0]
        expected.view(-1)[index] = sum(agree) / max(len(agree), 1)
    for divide in ("ratio", "weights"):
        torch.testing.assert_close(elect(parents, [1.0] * count, divide), expected)


@pytest.mark.parametrize("divide", DIVIDES)
@pytest.mark.parametrize("by_count", [False, True])
def test_the_order_of_parents_changes_nothing(divide: str, by_count: bool) -> None:
    parents, weights = vectors(4), [1.0, 0.5, 0.25, 1.0]
    weighted = [vector * weight for vector, weight in zip(parents, weights, strict=True)]
    first = elect(weighted, weights, divide, by_count=by_count)
    for order in permutations(range(4)):
        other = elect([weighted[k] for k in order], [weights[k] for k in order], divide, by_count=by_count)
        torch.testing.assert_close(other, first)


@pytest.mark.parametrize("divide", DIVIDES)
@given(count=st.integers(1, 4), place=st.integers(0, 4), seed=st.integers(0, 1000))
def test_a_parent_of_weight_zero_changes_nothing(divide: str, count: int, place: int, seed: int) -> None:
    parents, weights = vectors(count, seed), [1.0, 0.5, 0.25, 0.125][:count]
    weighted = [vector * weight for vector, weight in zip(parents, weights, strict=True)]
    without = elect(weighted, weights, divide)
    weighted.insert(place, torch.zeros_like(parents[0]))
    weights.insert(place, 0.0)
    assert torch.equal(elect(weighted, weights, divide), without)


@given(small=st.floats(1e-6, 0.1), seed=st.integers(0, 1000))
def test_small_weights_are_a_small_step(small: float, seed: int) -> None:
    """Under ``ratio`` the distance from the first parent is at most a few small weights of the largest value."""
    parents, weights = vectors(4, seed), [1.0, small, small, small]
    child = elect([v * w for v, w in zip(parents, weights, strict=True)], weights, "ratio")
    assert float((child - parents[0]).abs().max()) <= 7 * small * 8 / 64


def test_counting_elects_the_majority_and_mass_breaks_its_ties() -> None:
    parents = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, -3.0, -1.0]), torch.tensor([-9.0, 0.0, 0.0])]
    assert elected_sign(parents).tolist() == [-1, -1, 0]
    assert elected_sign(parents, by_count=True).tolist() == [1, -1, 0]


@pytest.mark.parametrize("divide", DIVIDES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_no_value_or_weight_gives_anything_but_a_number(divide: str, scale: float) -> None:
    """Among them opposite vectors, nothing at all, and weights that cancel or vanish."""
    first, second, third = (vector * scale for vector in vectors(3))
    for parents in ([first, -first, third], [first * 0] * 3, [first, second, -second]):
        for weights in ([1.0, -1.0, 0.5], [0.0, 0.0, 0.0], [0.1, 0.2, -0.3], [1e-38, 1.0, 1e-45]):
            weighted = [vector * weight for vector, weight in zip(parents, weights, strict=True)]
            assert bool(elect(weighted, weights, divide).isfinite().all())


def test_what_cannot_be_elected_is_refused() -> None:
    with pytest.raises(ConfigError, match="one weight for each task vector: 1 for 2"):
        elect(vectors(2), [1.0], "none")
    with pytest.raises(ConfigError, match="divide 'mean' is unknown"):
        elect(vectors(1), [1.0], "mean")
