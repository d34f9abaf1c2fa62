"""What each operator promises at its ends, in the mean, and against the papers' formulas written out plainly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import NEEDS_BASE, Settings, blend, keep_mask
from darwin_mri.merging.blending import Replacement, elect
from darwin_mri.merging.blocks import BLOCK
from darwin_mri.merging.settings import OF_TWO
from darwin_mri.merging.streaming import StreamedBlend

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


def merge(
    method: str,
    father: Tensor,
    mother: Tensor,
    base: Tensor | None,
    ratio: float,
    *,
    seed: int = 3,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Tensor:
    return blend(method, (father, mother), base, Settings(**settings), seed=seed, name="a").child(ratio, dtype)


@pytest.mark.parametrize("method", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratio_zero_is_the_father(method: str, dtype: torch.dtype) -> None:
    father, mother, base = parents(0, dtype)
    child = merge(method, father, mother, base, 0.0, density=0.4)
    assert torch.equal(child.to(dtype), father)
    assert child.data_ptr() != father.data_ptr()


@pytest.mark.parametrize("method", ["linear", "slerp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ratio_one_is_the_mother(method: str, dtype: torch.dtype) -> None:
    father, mother, _ = parents(1, dtype)
    mother[0, 0] = -0.0
    assert torch.equal(merge(method, father, mother, None, 1.0).to(dtype).view(torch.uint8), mother.view(torch.uint8))


@given(seed=seeds, ratio=ratios)
@settings(max_examples=30, deadline=None)
def test_linear_methods_compute_their_formulas(seed: int, ratio: float) -> None:
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
def test_ties_at_ratio_one_is_that_of_the_paper(seed: int, density_father: float, density_mother: float) -> None:
    f, m, b = parents(seed)
    child = merge("ties", f, m, b, 1.0, density_father=density_father, density=density_mother)
    assert torch.allclose(child, plain_ties(f, m, b, density_father, density_mother), atol=1e-6)


@given(seed=seeds, ratio=ratios)
@settings(max_examples=20, deadline=None)
def test_ties_with_one_moved_parent_is_task_arithmetic(seed: int, ratio: float) -> None:
    f, m, b = parents(seed)
    for father, mother in ((f, b), (b, m)):
        for method in ("ties", "dare_ties", "della"):
            expected = merge("task_arithmetic", father, mother, b, ratio)
            assert torch.allclose(merge(method, father, mother, b, ratio), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("divide", "expected"),
    [
        ("ratio", [4 / 1.5, -3.0, -1.0, 4.0, 2.0, 0.0, 0.0]),
        ("weights", [4 / 1.5, -6.0, -1.0, 8.0, 2.0, 0.0, 0.0]),
        ("none", [4.0, -3.0, -1.0, 4.0, 2.0, 0.0, 0.0]),
    ],
)
def test_elected_vectors_are_divided_as_the_settings_say(divide: str, expected: list[float]) -> None:
    father = torch.tensor([1.0, 1.0, -1.0, 0.0, 2.0, 1.0, 0.0])
    mother = torch.tensor([3.0, -3.0, 0.5, 4.0, 0.0, -1.0, 0.0])  # r times the mother's own
    magnitude, sign = elect(father, mother, 1.0, 0.5, divide)
    assert torch.allclose(magnitude * sign, torch.tensor(expected))


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della"])
def test_random_dropping_is_unbiased(method: str) -> None:
    """With one parent moved, the mean over seeds is task arithmetic."""
    _, m, b = parents(5, shape=(3, 8))
    children = [merge(method, b, m, b, 0.8, density=0.4, seed=seed) for seed in range(1500)]
    expected = merge("task_arithmetic", b, m, b, 0.8)
    spread = 0.8 * (m - b).abs() * math.sqrt(2 / 1500)  # sd of a kept-and-rescaled element is sqrt(1/p - 1)
    assert bool(((torch.stack(children).mean(0) - expected).abs() <= 5 * spread + 1e-5).all())


def test_dare_drops_and_rescales() -> None:
    f, m, b = parents(6)
    mask = keep_mask(f.shape, 0.3, 3, "a", "mother")
    dropped = (m - b) * mask
    child = {
        rescale: merge("dare_linear", f, m, b, 1.0, density=0.3, rescale=rescale)
        for rescale in ("inverse_density", "l1", "none")
    }
    assert torch.allclose(child["inverse_density"], f + dropped / 0.3, atol=1e-5)
    assert torch.allclose(child["none"], f + dropped, atol=1e-5)
    assert math.isclose(float((child["l1"] - f).abs().sum()), float((m - b).abs().sum()), rel_tol=1e-4)


@pytest.mark.parametrize("method", OPERATORS)
def test_bfloat16_is_rounded_once(method: str) -> None:
    """bf16 parents give what their fp32 copies give, rounded at the end; blocks leave no seam."""
    father, mother, base = parents(7, torch.bfloat16, (3, BLOCK // 2 + 5))
    common: dict[str, Any] = {"density_father": 0.8, "density": 0.5}
    exact = merge(method, father.float(), mother.float(), base.float(), 0.37, **common)
    direct = merge(method, father, mother, base, 0.37, dtype=torch.bfloat16, **common)
    assert exact.dtype == torch.float32
    assert torch.equal(exact.bfloat16(), direct)


@pytest.mark.parametrize("method", OPERATORS)
@pytest.mark.parametrize("length", [1, 7, 2 * BLOCK + 3])
def test_kept_vectors_give_the_same_bits_at_every_ratio(method: str, length: int) -> None:
    """What a search keeps resident and what a writer streams agree bit for bit."""
    father, mother, base = parents(8, torch.bfloat16, (length,))
    streamed = blend(method, (father, mother), base, Settings(density=0.5, density_father=0.9), seed=3, name="a")
    kept = streamed.kept(torch.device("cpu"))
    for ratio in (0.37, 1.3):
        target = torch.empty(length)
        kept.write(target, ratio, torch.bfloat16)
        assert torch.equal(target, streamed.child(ratio, torch.bfloat16).float())


@pytest.mark.parametrize("method", OPERATORS)
def test_threads_change_nothing(method: str) -> None:
    father, mother, base = parents(11, torch.bfloat16, (3, BLOCK))
    children = []
    before = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        children.append(merge(method, father, mother, base, 0.6, density=0.4, density_father=0.7, rescale="l1"))
    torch.set_num_threads(before)
    assert torch.equal(*children)


def test_scalars_vectors_and_empty_tensors_merge() -> None:
    for method in OPERATORS:
        for shape in ((), (5,), (0, 3), (2, 3, 4)):
            father, mother, base = parents(9, torch.bfloat16, shape)
            child = merge(method, father, mother, base, 0.5, density_father=0.5, density=0.5)
            assert child.shape == father.shape
            assert bool(child.isfinite().all())


@pytest.mark.parametrize("method", OPERATORS)
@pytest.mark.parametrize("base_is_father", [True, False])
def test_a_blend_held_as_an_accelerator_holds_it_is_the_same(
    method: str, base_is_father: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accelerator may keep the parents' tensors in place of the vectors made from them."""
    monkeypatch.setattr(StreamedBlend, "_holds_inputs", lambda self, device: True)
    father, mother, base = parents(12, torch.bfloat16)
    settings = Settings(density=0.5, density_father=0.9)
    streamed = blend(method, (father, mother), father if base_is_father else base, settings, seed=3, name="a")
    kept = streamed.kept(torch.device("cpu"))
    assert not kept.known
    for ratio in (0.37, 1.3):
        assert torch.equal(kept.child(ratio), streamed.child(ratio))


@pytest.mark.parametrize("method", OPERATORS)
def test_a_father_is_merged_with_as_many_others_as_the_method_takes(method: str) -> None:
    f, m, b = parents(13)
    most = 1 if method in OF_TWO else 7
    for count in (0, most + 1):
        with pytest.raises(ConfigError, match=f"{method} merges the father with .*, not with {count}"):
            blend(method, (f, *[m] * count), b, Settings(), seed=3, name="a")
    assert blend(method, (f, *[m] * most), b, Settings(), seed=3, name="a")


def test_wrong_use_is_refused_with_a_reason() -> None:
    f, m, b = parents(10)
    with pytest.raises(ConfigError, match="'dare' is unknown"):
        merge("dare", f, m, b, 0.5)
    for method in sorted(NEEDS_BASE):
        with pytest.raises(ConfigError, match="needs a base"):
            merge(method, f, m, None, 0.5)
    for ratio in (math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError, match="ratio"):
            merge("linear", f, m, None, ratio)
    with pytest.raises(ConfigError, match="scale"):
        merge("task_arithmetic", f, m, None, 0.5, scale=2.0)
    with pytest.raises(ConfigError, match="density"):
        merge("ties", f, m, b, 0.5, density=1.2)
    with pytest.raises(InputError, match="'a' of the mother has shape"):
        merge("linear", f, m[1:], None, 0.5)
    with pytest.raises(InputError, match="only floating"):
        merge("linear", f.int(), m, None, 0.5)
    with pytest.raises(ConfigError, match="rescale"):
        Settings(rescale="l2")


weights = st.floats(-1.5, 1.5)


def plain_election(u: Tensor, v: Tensor, weight: float, ratio: float) -> Tensor:
    """mergekit's TIES without trimming, normalized: the signed sum over the signed weights of those that agree."""
    merged = torch.zeros_like(u)
    for at in range(u.numel()):
        parts = [(weight * float(u[at]), weight), (ratio * float(v[at]), ratio)]
        sign = math.copysign(1, sum(value for value, _ in parts))
        agreeing = [part for part in parts if part[0] * sign > 0]
        divisor = sum(own for _, own in agreeing)
        merged[at] = sum(value for value, _ in agreeing) / (divisor if abs(divisor) > 1e-6 else 1)
    return merged


@given(seed=seeds, weight=weights, ratio=weights)
@settings(max_examples=40, deadline=None)
def test_a_negative_weight_takes_a_parent_away(seed: int, weight: float, ratio: float) -> None:
    weight, ratio = round(weight, 2), round(ratio, 2)
    f, m, b = (tensor.flatten() for tensor in parents(seed))
    added = b + weight * (f - b) + ratio * (m - b)
    for method in ("task_arithmetic", "dare_linear"):
        assert torch.allclose(merge(method, f, m, b, ratio, weight_father=weight), added, atol=1e-5)
    child = merge("ties", f, m, b, ratio, weight_father=weight, divide="weights")
    together = (weight * (f - b) + ratio * (m - b)).abs() > 1e-6
    assert torch.allclose(child[together], (b + plain_election(f - b, m - b, weight, ratio))[together], atol=1e-3)


@given(seed=seeds, ratio=st.floats(0, 1.5))
@settings(max_examples=20, deadline=None)
def test_a_negative_ratio_is_that_of_the_negated_task_vector(seed: int, ratio: float) -> None:
    """Of a genome, whose small steps stay small whatever their sign."""
    f, m, b = parents(seed)
    for method in ("ties", "della"):
        taken, negated = merge(method, f, m, b, -ratio), merge(method, f, b - (m - b), b, ratio)
        assert torch.allclose(taken, negated, atol=1e-5)


def test_a_share_of_neurons_is_never_negative() -> None:
    f, m, _ = parents(3)
    with pytest.raises(ConfigError, match="share of neurons"):
        Replacement(f, m, torch.rand(f.shape)).child(-0.5)


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties", "della"])
def test_density_zero_keeps_nothing_of_a_parent(method: str) -> None:
    f, m, b = parents(4)
    child = merge(method, f, m, b, 0.7, density=0.0, density_father=0.0)
    assert torch.equal(child, b)
    assert torch.allclose(merge(method, f, m, b, 0.7, density=0.0), f, atol=1e-6)
