"""Regression: the optimum of its least-squares problem, by every form, and the parents at the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.moments import Regularisation
from darwin_mri.merging.operators import blend
from darwin_mri.merging.regressing import LinearMap, regress
from darwin_mri.merging.regression import Columns, Regression, Solved, delta_moments, make_shares, weights_of
from darwin_mri.merging.settings import Settings

OUT, WIDTH = 5, 7
RATIOS = st.lists(st.floats(0.01, 1.5), min_size=1, max_size=3)
SEEDS = st.integers(0, 10**6)


def parents(count: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Matrices and rows of inputs of each parent, fp64."""
    generator = torch.Generator().manual_seed(seed)
    matrices = list(torch.randn(count, OUT, WIDTH, dtype=torch.float64, generator=generator))
    scales = torch.rand(count, 1, WIDTH, dtype=torch.float64, generator=generator) + 0.1
    inputs = list(torch.randn(count, 40, WIDTH, dtype=torch.float64, generator=generator) * scales)
    return matrices, inputs


def moments(inputs: list[Tensor]) -> list[Tensor]:
    return [x.T @ x / len(x) for x in inputs]


def merged(matrices: list[Tensor], own: list[Tensor], ratios: list[float], kind: type | None = None) -> Tensor:
    """The child, fp64, by the shares that fit or by those of a kind."""
    shares = make_shares(own) if kind is None else kind(tuple(own))
    father, *others = matrices
    return father + shares.join(shares.prepare([other - father for other in others]), tuple(ratios))


@settings(deadline=None)
@given(RATIOS, SEEDS)
def test_the_child_is_the_optimum_of_the_least_squares_problem(ratios: list[float], seed: int) -> None:
    """As numpy solves it from all rows: sum_p w_p |W x_p - W_p x_p|^2."""
    matrices, inputs = parents(1 + len(ratios), seed)
    weights = weights_of(tuple(ratios))
    x = torch.cat([np.sqrt(w / len(rows)) * rows for w, rows in zip(weights, inputs, strict=True)])
    y = torch.cat([np.sqrt(w / len(rows)) * rows @ m.T for w, rows, m in zip(weights, inputs, matrices, strict=True)])
    best = torch.from_numpy(np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0]).T
    assert torch.allclose(merged(matrices, moments(inputs), ratios), best, rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 1.5), SEEDS)
def test_directions_give_what_a_solve_gives(ratio: float, seed: int) -> None:
    matrices, inputs = parents(2, seed)
    own = moments(inputs)
    assert torch.allclose(merged(matrices, own, [ratio]), merged(matrices, own, [ratio], Solved), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(RATIOS, SEEDS, st.booleans())
def test_parents_in_another_order_give_the_same_child(ratios: list[float], seed: int, diagonal: bool) -> None:
    matrices, inputs = parents(1 + len(ratios), seed)
    own = [m.diagonal().clone() if diagonal else m for m in moments(inputs)]
    first = merged(matrices, own, ratios)
    turned = [matrices[0], *matrices[:0:-1]], [own[0], *own[:0:-1]]
    assert torch.allclose(first, merged(*turned, ratios[::-1]), rtol=1e-6, atol=1e-6)
    total = sum(ratios)
    if total < 1:  # the father may change places too: its weight is what the others leave
        swapped = [*matrices[1:], matrices[0]], [*own[1:], own[0]]
        assert torch.allclose(first, merged(*swapped, [*ratios[1:], 1 - total]), rtol=1e-6, atol=1e-6)


@settings(deadline=None)
@given(RATIOS, SEEDS, st.sampled_from([torch.float32, torch.bfloat16]))
def test_identity_moments_are_linear_to_the_bit(ratios: list[float], seed: int, dtype: torch.dtype) -> None:
    matrices = [m.to(dtype) for m in parents(1 + len(ratios), seed)[0]]
    own = LinearMap("w", "w", False, None)
    identity = regress(own, matrices, None, Settings(values=(("moments", "identity"),)))
    linear = blend("linear", matrices, None, Settings(), seed=1, name="w")
    assert torch.equal(identity.child(tuple(ratios), dtype), linear.child(tuple(ratios), dtype))


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 0.3), min_size=1, max_size=3), SEEDS)
def test_equal_moments_are_linear_too(ratios: list[float], seed: int) -> None:
    matrices, inputs = parents(1 + len(ratios), seed)
    same = [moments(inputs)[0]] * len(matrices)
    expected = matrices[0] + sum(r * (m - matrices[0]) for r, m in zip(ratios, matrices[1:], strict=True))
    assert torch.allclose(merged(matrices, same, ratios), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_the_ends_are_the_parents_bytes_and_a_kept_blend_gives_the_same_bits(
    count: int, transposed: bool, dtype: torch.dtype
) -> None:
    matrices, inputs = parents(count, 1)
    stored = [(m.T.contiguous() if transposed else m).to(dtype) for m in matrices]
    for own in (moments(inputs), [m.diagonal().clone() for m in moments(inputs)]):
        none = (0.0,) * (count - 1)
        function = Regression(stored[0], tuple(stored[1:]), make_shares(own), transposed, known={none: stored[0]})
        assert torch.equal(function.child(none, dtype), stored[0])
        kept = function.kept(torch.device("cpu"))
        assert torch.equal(kept.child(none, dtype), stored[0])
        ratios = (0.4, 0.3)[: count - 1]
        assert torch.equal(kept.child(ratios), function.child(ratios))
        upright = [tensor.T.contiguous() if transposed else tensor for tensor in stored]
        plain = Regression(upright[0], tuple(upright[1:]), make_shares(own))
        turned = plain.child(ratios).T if transposed else plain.child(ratios)
        assert torch.allclose(function.child(ratios), turned, atol=1e-5)
        target = torch.empty_like(stored[0])
        kept.write(target, ratios, dtype)
        assert torch.equal(target, kept.child(ratios, dtype))
        assert kept.kept_bytes(torch.device("cpu")) > stored[0].nbytes


def test_parents_that_read_other_directions_are_kept_in_full_where_linear_keeps_half() -> None:
    """The father's inputs lie in the first four dimensions, the mother's in the others."""
    (father, mother), _ = parents(2, 3)
    halves = torch.zeros(2, 60, WIDTH, dtype=torch.float64)
    halves[0, :, :4] = torch.randn(60, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    halves[1, :, 4:] = torch.randn(60, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    tiny = Regularisation(1.0, 1e-9)
    child = merged([father, mother], [tiny.apply(m) for m in moments(list(halves))], [0.5])
    average = (father + mother) / 2
    for matrix, other, x in ((father, mother, halves[0]), (mother, father, halves[1])):
        wanted = x @ matrix.T
        assert torch.allclose(x @ child.T, wanted, atol=1e-5)
        lost = (x @ average.T - wanted).norm() / (x @ (matrix - other).T).norm()
        assert float(lost) == pytest.approx(0.5)


def test_a_singular_moment_is_named_with_its_rank() -> None:
    (father, mother), inputs = parents(2, 4)
    poor = inputs[0][:3].T @ inputs[0][:3]
    with pytest.raises(InputError, match=r"singular \(rank 3 of 7\): give more text, or set settings.ridge above 0"):
        merged([father, mother], [poor, moments(inputs)[1]], [0.5])
    made_fit = [Regularisation(0.9, 1e-3).apply(poor), moments(inputs)[1]]
    assert merged([father, mother], made_fit, [0.5]).isfinite().all()


def test_deltas_need_a_base_and_follow_what_was_changed() -> None:
    """The mother has changed the first column alone: in it the child is hers, elsewhere the parents agree."""
    father, base = torch.eye(4), torch.eye(4)
    mother = base.clone()
    mother[:, 0] += 1.0
    own, values = LinearMap("w", "w", False, None), Settings(values=(("moments", "deltas"), ("shrink", 1.0)))
    with pytest.raises(ConfigError, match="needs a base model"):
        regress(own, (father, mother), None, values)
    child = regress(own, (father, mother), base, values).child(0.5)
    assert torch.allclose(child, mother, atol=5e-3)
    transposed = regress(LinearMap("w", "w", True, None), (father.T, mother.T), base.T, values).child(0.5)
    assert torch.allclose(transposed.T, child, atol=1e-6)
    assert [float(m.sum()) for m in delta_moments(father, [mother], base, transposed=False)] == [0.0, 4.0]
    wide = delta_moments(torch.zeros(1, 3), [torch.tensor([[1.0, 2.0, 0.0]])], torch.zeros(1, 3), transposed=False)
    assert [m.tolist() for m in wide] == [[0.0, 0.0, 0.0], [1.0, 4.0, 0.0]]  # of three inputs and one output: squares
    unchanged = regress(own, (base, base), base, values).child(0.5)
    assert torch.equal(unchanged, base)


def test_measured_moments_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(InputError, match="needs measured moments, and there are none: scan with --moments full"):
        regress(LinearMap("w", "w", False, None), (torch.eye(3), torch.eye(3)), None, Settings())


def test_columns_take_a_share_of_each_column() -> None:
    father, mother = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    own = [torch.tensor([1.0, 3.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)]
    child = merged([father, mother], own, [0.5])
    assert torch.allclose(child[0], torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64))
    assert isinstance(make_shares(own), Columns)
