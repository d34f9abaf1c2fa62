"""Masks depend on (seed, tensor name, parent) and nothing else; trimming keeps exactly the largest."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.merging.masks import SMALL, keep_mask, magprune, trim_level, uniform

names = st.text(min_size=1, max_size=20)
seeds = st.integers(0, 2**40)


@given(seed=seeds, name=names, other=names, density=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_mask_ignores_what_was_drawn_before(seed: int, name: str, other: str, density: float) -> None:
    first = keep_mask((7, 9), density, seed, name, "mother")
    torch.manual_seed(0)
    keep_mask((3,), 0.5, seed, other, "father")
    assert torch.equal(first, keep_mask((7, 9), density, seed, name, "mother"))
    assert torch.equal(first.flatten(), keep_mask((63,), density, seed, name, "mother"))


@given(seed=seeds, name=names)
@settings(max_examples=20, deadline=None)
def test_mask_differs_by_seed_name_and_parent(seed: int, name: str) -> None:
    shape = (256,)
    mask = keep_mask(shape, 0.5, seed, name, "mother")
    assert not torch.equal(mask, keep_mask(shape, 0.5, seed + 1, name, "mother"))
    assert not torch.equal(mask, keep_mask(shape, 0.5, seed + 2**32, name, "mother"))
    assert not torch.equal(mask, keep_mask(shape, 0.5, seed, name + "x", "mother"))
    assert not torch.equal(mask, keep_mask(shape, 0.5, seed, name, "father"))


@given(seed=seeds, density=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_mask_keeps_its_density(seed: int, density: float) -> None:
    count = 40_000
    kept = int(keep_mask((count,), density, seed, "a", "mother").sum())
    assert abs(kept - density * count) <= 6 * math.sqrt(count * density * (1 - density)) + 1


def test_smaller_density_keeps_a_subset() -> None:
    small, large = (keep_mask((5000,), density, 1, "a", "mother") for density in (0.2, 0.6))
    assert bool((small <= large).all())
    assert bool(keep_mask((5000,), 1.0, 1, "a", "mother").all())
    assert not bool(keep_mask((5000,), 0.0, 1, "a", "mother").any())


def test_known_masks_never_change() -> None:
    """A golden value: a child must be the same with any later version."""
    assert keep_mask((16,), 0.5, 3, "model.layers.0.mlp.up_proj.weight", "mother").int().tolist() == GOLDEN


GOLDEN = [1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_uniform_numbers_cover_their_range_evenly() -> None:
    draws = uniform((100, 401), 1, "a", "mother")
    assert draws.dtype == torch.float32
    assert bool(((draws >= 0) & (draws < 1)).all())
    assert abs(float(draws.mean()) - 0.5) < 0.01
    assert abs(float(draws.var()) - 1 / 12) < 0.01


@given(values=st.lists(st.integers(0, 6), min_size=1, max_size=60), density=st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_trim_keeps_the_largest_and_all_of_equal_magnitude(values: list[int], density: float) -> None:
    magnitudes = torch.tensor(values, dtype=torch.float32)
    threshold = sorted(values, reverse=True)[max(1, round(density * len(values))) - 1]
    kept = torch.hardshrink(magnitudes, trim_level(magnitudes, torch.zeros_like(magnitudes), density)) != 0
    assert torch.equal(kept, (magnitudes >= threshold) & (magnitudes > 0))


def test_trim_of_a_large_tensor_is_exact() -> None:
    """The sampled bracket only saves time, also on sorted and on nearly constant magnitudes."""
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(2 * SMALL, generator=generator).abs()
    constant = torch.ones(2 * SMALL)
    constant[: SMALL // 100] = 2
    for magnitudes in (spread, spread.sort().values, constant):
        for density in (0.001, 0.37, 0.999):
            kept = magnitudes > trim_level(magnitudes, torch.zeros_like(magnitudes), density)
            threshold = magnitudes.sort(descending=True).values[round(density * magnitudes.numel()) - 1]
            assert torch.equal(kept, magnitudes >= threshold)


@given(density=st.floats(0.02, 0.98), epsilon=st.floats(0, 0.5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_magprune_prefers_large_magnitudes_and_keeps_the_mean(density: float, epsilon: float, seed: int) -> None:
    delta = torch.randn(200, 101, generator=torch.Generator().manual_seed(seed)).abs().sort(dim=1).values
    weights = magprune(delta, density, epsilon, uniform(delta.shape, seed, "a", "mother"), "inverse_density")
    kept = (weights > 0).float()
    assert abs(float(kept.mean()) - density) < 0.02
    half = min(epsilon / 2, 1 - density, density / 2)
    if half > 0.1:
        assert kept[:, 51:].mean() > kept[:, :50].mean()
    expected = density - half + 2 * half * (torch.arange(101) + 0.5) / 101
    assert torch.allclose(weights[kept > 0], (1 / expected).expand_as(weights)[kept > 0], rtol=1e-4)
