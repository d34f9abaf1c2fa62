"""What each operator promises at its ends, in the mean, and against the papers' formulas written out plainly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import METHODS, NEEDS_BASE, keep_mask, merge_tensor, round_once
from darwin_mri.merging.operators import BLOCK, disjoint_mean

ratios = st.floats(0, 1.5)
densities = st.floats(0.05, 1)
seeds = st.integers(0, 10_000)


def parents(seed: int, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (9, 14)) -> tuple[Tensor, ...]:
    """Father, mother and base; siblings some of whose elements did not move."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator)
    steps = [
        0.1 * torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < 0.7) for _ in "fm"
    ]
    return (base + steps[0]).to(dtype), (base + steps[1]).to(dtype), base.to(dtype)


def merge(method: str, father: Tensor, mother: Tensor, base: Tensor | None, ratio: float, **settings: float) -> Tensor:
    return merge_tensor(method, father=father, mother=mother, base=base, ratio=ratio, seed=3, name="a", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratio_zero_is_the_father(method: str, dtype: torch.dtype) -> None:
    father, mother, base = parents(0, dtype)
    child = merge(method, father, mother, base, 0.0, density_mother=0.4)
    assert torch.equal(round_once(child, dtype), father)
    assert child.data_ptr() != father.data_ptr()


@pytest.mark.parametrize("method", ["linear", "slerp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratio_one_is_the_mother(method: str, dtype: torch.dtype) -> None:
    father, mother, _ = parents(1, dtype)
    mother[0, 0] = -0.0
    assert torch.equal(
        round_once(merge(method, father, mother, None, 1.0), dtype).view(torch.uint8), mother.view(torch.uint8)
    )


@given(seed=seeds, ratio=ratios)
@settings(max_examples=30, deadline=None)
def test_formulas(seed: int, ratio: float) -> None:
    f, m, b = parents(seed)
    assert torch.allclose(merge("linear", f, m, None, ratio), (1 - ratio) * f + ratio * m, atol=1e-5)
    assert torch.allclose(merge("task_arithmetic", f, m, b, ratio), f + ratio * (m - b), atol=1e-5)
    assert torch.allclose(merge("task_arithmetic", f, m, None, ratio), f + ratio * (m - f), atol=1e-5)


@given(angle=st.floats(0.1, 3.0), ratio=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_slerp_turns_at_constant_speed(angle: float, ratio: float) -> None:
    father, mother = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(angle), math.sin(angle)])
    child = merge("slerp", father, mother, None, ratio)
    assert torch.allclose(child, torch.tensor([math.cos(ratio * angle), math.sin(ratio * angle)]), atol=1e-5)


@pytest.mark.parametrize("mother", [torch.tensor([2.0, 4.0]), torch.tensor([-1.0, -2.0]), torch.zeros(2)])
def test_slerp_of_parallel_or_empty_vectors_is_linear(mother: Tensor) -> None:
    father = torch.tensor([1.0, 2.0])
    assert torch.allclose(merge("slerp", father, mother, None, 0.3), 0.7 * father + 0.3 * mother)


def plain_ties(f: Tensor, m: Tensor, b: Tensor, density_father: float, density_mother: float) -> Tensor:
    """Algorithm 1 of arXiv 2306.01708 for two models and lambda 1, element by element."""
    trimmed = []
    for delta, density in ((f - b, density_father), (m - b, density_mother)):
        kept = max(1, round(density * delta.numel()))
        threshold = delta.abs().flatten().sort(descending=True).values[kept - 1]
        trimmed.append([float(x) if abs(float(x)) >= float(threshold) else 0.0 for x in delta.flatten()])
    merged = []
    for pair in zip(*trimmed, strict=True):
        sign = math.copysign(1, sum(pair)) if sum(pair) != 0 else 0.0
        agreeing = [x for x in pair if x * sign > 0]
        merged.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    return b + torch.tensor(merged).reshape(b.shape)


@given(seed=seeds, density_father=densities, density_mother=densities)
@settings(max_examples=30, deadline=None)
def test_ties_at_ratio_one_is_the_papers(seed: int, density_father: float, density_mother: float) -> None:
    f, m, b = parents(seed)
    child = merge("ties", f, m, b, 1.0, density_father=density_father, density_mother=density_mother)
    assert torch.allclose(child, plain_ties(f, m, b, density_father, density_mother), atol=1e-6)


@given(seed=seeds, ratio=ratios)
@settings(max_examples=20, deadline=None)
def test_ties_with_one_moved_parent_is_task_arithmetic(seed: int, ratio: float) -> None:
    f, m, b = parents(seed)
    for father, mother in ((f, b), (b, m)):
        for method in ("ties", "dare_ties", "della"):
            expected = merge("task_arithmetic", father, mother, b, ratio)
            assert torch.allclose(merge(method, father, mother, b, ratio), expected, atol=1e-6)


def test_disjoint_mean_cases() -> None:
    father = torch.tensor([1.0, 1.0, -1.0, 0.0, 2.0, 1.0, 0.0])
    mother = torch.tensor([3.0, -3.0, 0.5, 4.0, 0.0, -1.0, 0.0])  # r times the mother's own
    expected = torch.tensor([4 / 1.5, -3.0, -1.0, 4.0, 2.0, 0.0, 0.0])
    assert torch.allclose(disjoint_mean(father, mother, 0.5), expected)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della"])
def test_random_dropping_is_unbiased(method: str) -> None:
    """With one parent moved, the mean over seeds is task arithmetic."""
    _, m, b = parents(5, shape=(3, 8))
    children = [
        merge_tensor(method, father=b, mother=m, base=b, ratio=0.8, density_mother=0.4, seed=seed, name="a")
        for seed in range(1500)
    ]
    expected = merge("task_arithmetic", b, m, b, 0.8)
    spread = 0.8 * (m - b).abs() * math.sqrt(2 / 1500)  # sd of a kept-and-rescaled element is sqrt(1/p - 1)
    assert bool(((torch.stack(children).mean(0) - expected).abs() <= 5 * spread + 1e-5).all())


def test_dare_drops_and_rescales() -> None:
    f, m, b = parents(6)
    mask = keep_mask(f.shape, 0.3, 3, "a", "mother")
    dropped = (m - b) * mask
    child = {
        rescale: merge_tensor(
            "dare_linear", father=f, mother=m, base=b, ratio=1.0, density_mother=0.3, seed=3, name="a", rescale=rescale
        )
        for rescale in ("inverse_density", "l1", "none")
    }
    assert torch.allclose(child["inverse_density"], f + dropped / 0.3, atol=1e-5)
    assert torch.allclose(child["none"], f + dropped, atol=1e-5)
    assert math.isclose(float((child["l1"] - f).abs().sum()), float((m - b).abs().sum()), rel_tol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_is_rounded_once(method: str) -> None:
    """bf16 parents give what their fp32 copies give, rounded at the end; blocks leave no seam."""
    father, mother, base = parents(7, torch.bfloat16, (3, BLOCK // 2 + 5))
    common = {"ratio": 0.37, "density_father": 0.8, "density_mother": 0.5, "seed": 3, "name": "a"}
    exact = merge_tensor(method, father=father.float(), mother=mother.float(), base=base.float(), **common)
    direct = merge_tensor(method, father=father, mother=mother, base=base, dtype=torch.bfloat16, **common)
    assert exact.dtype == torch.float32
    assert torch.equal(round_once(exact, torch.bfloat16), direct)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "dare_linear"])
@pytest.mark.parametrize("length", [1, 7, 1000, 2 * BLOCK + 3])
def test_child_is_father_plus_ratio_times_direction_bit_for_bit(method: str, length: int) -> None:
    """A candidate in memory may keep the direction, which a zero father gives, and scale it."""
    father, mother, base = parents(8, torch.bfloat16, (length,))
    origin = father if method == "linear" else base
    direction = merge_tensor(
        "dare_linear" if method == "dare_linear" else "task_arithmetic",
        father=torch.zeros_like(father), mother=mother, base=origin, ratio=1.0, density_mother=0.5, seed=3, name="a",
    )  # fmt: skip
    child = merge(method, father, mother, base, 0.37, density_mother=0.5)
    assert torch.equal(child, father.float() + 0.37 * direction)


def test_scalars_vectors_and_empty_tensors_merge() -> None:
    for method in METHODS:
        for shape in ((), (5,), (0, 3), (2, 3, 4)):
            father, mother, base = parents(9, torch.bfloat16, shape)
            child = merge(method, father, mother, base, 0.5, density_father=0.5, density_mother=0.5)
            assert child.shape == father.shape
            assert bool(child.isfinite().all())


def test_wrong_use_is_refused_in_words() -> None:
    f, m, b = parents(10)
    with pytest.raises(ConfigError, match="'dare' is unknown"):
        merge("dare", f, m, b, 0.5)
    for method in sorted(NEEDS_BASE):
        with pytest.raises(ConfigError, match="needs a base"):
            merge(method, f, m, None, 0.5)
    for ratio in (-0.1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="ratio"):
            merge("linear", f, m, None, ratio)
    with pytest.raises(ConfigError, match="density"):
        merge("ties", f, m, b, 0.5, density_mother=1.2)
    with pytest.raises(InputError, match="'a' of the mother has shape"):
        merge("linear", f, m[1:], None, 0.5)
    with pytest.raises(InputError, match="only floating"):
        merge("linear", f.int(), m, None, 0.5)
    with pytest.raises(ConfigError, match="rescale"):
        merge_tensor("dare_linear", father=f, mother=m, base=b, ratio=1.0, seed=0, name="a", rescale="l2")
