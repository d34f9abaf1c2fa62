"""What the methods for any number of parents promise: order, weights, copies, scale, extremes, and their formulas.

For the same promises beside another implementation see test_methods_mergekit.
"""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from darwin_mri.config import OPERATORS
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import uniform
from darwin_mri.merging.methods import METHODS
from darwin_mri.merging.methods.apply import Weighing, merge
from darwin_mri.merging.methods.election import elect
from darwin_mri.merging.methods.karcher import karcher
from darwin_mri.merging.methods.model_stock import model_stock
from darwin_mri.merging.methods.multislerp import multislerp
from darwin_mri.merging.methods.nearswap import nearswap
from darwin_mri.merging.methods.nuslerp import nuslerp
from darwin_mri.merging.methods.sparse import Part, della_linear, two_sided

SHAPE = (6, 35)
SYMMETRIC = [name for name, spec in METHODS.items() if spec.symmetric and spec.parents != (1, 1)]
WEIGHED = [name for name, spec in METHODS.items() if spec.weights == "per_parent"]
SPARSE = [name for name, spec in METHODS.items() if spec.sparse]
# Settings under which nothing is trivial: something is dropped, selected or amplified.
LIVELY: dict[str, dict[str, Any]] = {
    "sce": {"select_topk": 0.5},
    "ram": {"threshold": 0.05},
    "ramplus_tl": {"threshold": 0.05, "r": 0.3, "alpha": 0.9},
    "nearswap": {"t": 0.1},
    "della_linear": {"density": 0.6},
    "breadcrumbs": {"density": 0.6, "gamma": 0.1},
    "breadcrumbs_ties": {"density": 0.6, "gamma": 0.1},
}
seeds = st.integers(0, 1000)
few = settings(max_examples=15)  # of every method


def family(count: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[list[Tensor], Tensor]:
    """Parents and base in steps of 1/64: sums are exact, and some task vectors' elements are 0 or cancel."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(-128, 129, shape, generator=generator) / 64
    return [base + torch.randint(-16, 17, shape, generator=generator) / 64 for _ in range(count)], base


def run(
    method: str, parents: Sequence[Tensor], base: Tensor | None, weights: Sequence[float] = (), **values: Any
) -> Tensor:
    draws = [uniform(parent.shape, 3, "a", f"parent{k}") for k, parent in enumerate(parents)]
    return merge(method, parents, base, Weighing(weights, values, draws), "a")


def count_for(method: str, wanted: int) -> int:
    return min(wanted, METHODS[method].parents[1] or wanted)


@pytest.mark.parametrize("method", SYMMETRIC)
@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_the_order_of_parents_changes_nothing(method: str, seed: int, order: list[int]) -> None:
    count = count_for(method, 4)
    order = [k for k in order if k < count]
    parents, base = family(count, seed)
    draws = [uniform(SHAPE, 3, "a", f"parent{k}") for k in range(count)]
    values = LIVELY.get(method, {})
    first = merge(method, parents, base, Weighing(values=values, draws=draws), "a")
    moved = Weighing(values=values, draws=[draws[k] for k in order])
    torch.testing.assert_close(merge(method, [parents[k] for k in order], base, moved, "a"), first)


@pytest.mark.parametrize("method", WEIGHED)
@few
@given(seed=seeds, place=st.integers(0, 2))
def test_a_parent_of_weight_zero_changes_nothing(method: str, seed: int, place: int) -> None:
    parents, base = family(3, seed)
    values = {} if method == "della_linear" else LIVELY.get(method, {})
    if METHODS[method].parents[1] == 2:
        pair = [parents[0], parents[1]]
        torch.testing.assert_close(run(method, pair, base, (1.0, 0.0), **values), parents[0])
        torch.testing.assert_close(run(method, pair, base, (0.0, 2.0), **values), parents[1])
        return
    weights = [1.0, 0.5, 0.25]
    weights[place] = 0.0
    others = [k for k in range(3) if k != place]
    expected = run(method, [parents[k] for k in others], base, [weights[k] for k in others], **values)
    torch.testing.assert_close(run(method, parents, base, weights, **values), expected)


@pytest.mark.parametrize("method", METHODS)
@few
@given(seed=seeds, wanted=st.integers(2, 5))
def test_copies_of_one_parent_give_that_parent(method: str, seed: int, wanted: int) -> None:
    """With nothing dropped; task vectors that are summed are normalized for it, else they add up."""
    (parent,), base = family(1, seed)
    count = count_for(method, wanted)
    if method not in ("della_linear", "breadcrumbs"):
        torch.testing.assert_close(run(method, [parent] * count, base), parent)
    else:
        torch.testing.assert_close(run(method, [parent] * count, base, normalize=True), parent)
        torch.testing.assert_close(run(method, [parent] * count, base), base + count * (parent - base))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "arcee_fusion"])
@few
@given(seed=seeds, power=st.integers(-90, 90))
def test_scaled_parents_give_the_scaled_child(method: str, seed: int, power: int) -> None:
    """Lengths that a method takes as a parameter scale with them; softmax makes arcee_fusion depend on the scale."""
    scale, count = 2.0**power, count_for(method, 3)
    parents, base = family(count, seed)
    values = LIVELY.get(method, {})
    scaled = {key: value * scale if key in ("t", "threshold") else value for key, value in values.items()}
    child = run(method, parents, base, **values)
    other = run(method, [parent * scale for parent in parents], base * scale, **scaled)
    torch.testing.assert_close(other / scale, child, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if spec.base != "none"])
@few
@given(seed=seeds)
def test_moving_everything_moves_the_child(method: str, seed: int) -> None:
    count = count_for(method, 3)
    parents, base = family(count, seed)
    shift = torch.randint(-64, 65, SHAPE, generator=torch.Generator().manual_seed(seed)) / 64
    values = LIVELY.get(method, {})
    moved = run(method, [parent + shift for parent in parents], base + shift, **values)
    torch.testing.assert_close(moved - shift, run(method, parents, base, **values), rtol=1e-5, atol=1e-5)


def extremes(size: float) -> list[list[Tensor]]:
    """Parents and, last, their base: nothing, equal, opposite and nearly so, one untouched, mixed sizes."""
    parents, base = family(5)
    one, two, *more = (parent * size for parent in parents)
    none, base = torch.zeros(SHAPE), base * size
    return [
        [none] * 6,
        [one] * 6,
        [one] * 5 + [base],
        [one, -one, one, -one, one, none],
        [one, -one, two, -two, none, none],
        [one, -one * (1 + 2**-20), one, -one, two, none],
        [base, one, base, two, more[0], base],
        [none, one, *more, none],
        [one, two / size / size, *more, base],
    ]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_extreme_tensors_give_numbers(method: str, dtype: torch.dtype, size: float) -> None:
    spec = METHODS[method]
    for tensors in extremes(size):
        *parents, base = (tensor.to(dtype) for tensor in tensors)
        for count in {count_for(method, wanted) for wanted in (2, 3, 5)}:
            for given_base in (base, None) if spec.base == "optional" else (base,):
                before = [tensor.clone() for tensor in parents]
                for values in ({}, LIVELY.get(method, {})):
                    child = run(method, parents[:count], given_base, **values)
                    assert child.dtype == torch.float32 and child.shape == SHAPE
                    assert bool(child.isfinite().all()), (size, count, tensors)
                assert all(map(torch.equal, parents, before))  # the inputs are left alone


@pytest.mark.parametrize("method", METHODS)
def test_bf16_parents_are_merged_as_their_fp32_values(method: str) -> None:
    parents, base = family(count_for(method, 3))
    parents, base = [parent.bfloat16() for parent in parents], base.bfloat16()
    values = LIVELY.get(method, {})
    wide = run(method, [parent.float() for parent in parents], base.float(), **values)
    assert torch.equal(run(method, parents, base, **values), wide)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(), (1,), (40,), (3, 4, 5)])
def test_every_shape_is_merged(method: str, shape: tuple[int, ...]) -> None:
    parents, base = family(count_for(method, 3), shape=shape)
    assert run(method, parents, base, **LIVELY.get(method, {})).shape == shape


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_threads_changes_no_bit(method: str) -> None:
    parents, base = family(count_for(method, 3), shape=(300, 700))
    values = LIVELY.get(method, {})
    child, threads = run(method, parents, base, **values), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(run(method, parents, base, **values), child)
    finally:
        torch.set_num_threads(threads)


def test_multislerps_tangent_step_is_none() -> None:
    """The blog's whole road in fp64, through the tangent space and back: the same as the short one."""
    parents, base = family(3)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    vectors = torch.stack([(parent - base).double().flatten() for parent in parents])
    lengths = vectors.norm(dim=1, keepdim=True)
    units = vectors / lengths
    mean = (units * weights[:, None]).sum(dim=0)
    mean = mean / mean.norm()
    tangents = units - (units @ mean)[:, None] * mean
    step = (tangents * weights[:, None]).sum(dim=0)
    assert float(step.norm()) < 1e-15
    merged = (mean * step.norm().cos() + step) * (weights @ lengths)
    child = multislerp(parents, weights.tolist(), base)
    torch.testing.assert_close(child, (base.double().flatten() + merged).reshape(SHAPE).float())


@given(seed=seeds, weights=st.lists(st.floats(0.1, 2), min_size=4, max_size=4))
def test_at_the_karcher_mean_the_pulls_cancel(seed: int, weights: list[float]) -> None:
    parents, _ = family(4, seed)
    child = karcher(parents, weights, max_iter=50, tol=1e-9).double().flatten()
    units = torch.stack([parent.double().flatten() / parent.double().norm() for parent in parents])
    mean = child / child.norm()
    cosines = units @ mean
    angles = cosines.acos()
    pull = (torch.tensor(weights) * angles / angles.sin()) @ (units - cosines[:, None] * mean)
    assert float(pull.norm()) < 1e-6
    length = sum(w * float(p.norm()) for w, p in zip(weights, parents, strict=True)) / sum(weights)
    assert float(child.norm()) == pytest.approx(length, rel=1e-6)


def test_karcher_of_near_parents_is_their_mean() -> None:
    """Angles of 1e-4 are no rounding errors here: all parents pull, to the square of the angle."""
    parents, _ = family(3)
    near = [parents[0] + 1e-4 * (parent - parents[0]) for parent in parents]
    torch.testing.assert_close(karcher(near), sum(near, torch.zeros(SHAPE)) / 3, rtol=0, atol=1e-6)


def test_nuslerp_goes_by_the_angle_of_tensor_row_or_column() -> None:
    (one, two), base = family(2)
    for base_or_none in (base, None):
        u, v = (one - base, two - base) if base_or_none is not None else (one, two)
        for own, dims in (({}, (0, 1)), ({"flatten": False}, (1,)), ({"flatten": False, "row_wise": True}, (0,))):
            dot, lengths = (
                (u * v).sum(dims, keepdim=True),
                u.norm(dim=dims, keepdim=True) * v.norm(dim=dims, keepdim=True),
            )
            angle = (dot / lengths).acos()
            expected = ((0.7 * angle).sin() * u + (0.3 * angle).sin() * v) / angle.sin()
            expected = expected if base_or_none is None else expected + base
            child = nuslerp([one, two], [1.4, 0.6], base_or_none, **own)
            torch.testing.assert_close(child, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_model_stock_does_not_depend_on_lengths(filter_wise: bool) -> None:
    """Short task vectors move as far as long ones; mergekit's floor keeps them at the base."""
    parents, base = family(3)
    short = [base + (parent - base) * 2**-12 for parent in parents]
    child = model_stock(parents, base, filter_wise=filter_wise)
    near = model_stock(short, base, filter_wise=filter_wise)
    torch.testing.assert_close((near - base) * 2**12, child - base, rtol=1e-3, atol=2e-3)
    floored = model_stock(short, base, filter_wise=filter_wise, floor=1.0)
    assert float((floored - base).norm()) < 0.01 * float((near - base).norm())


def test_sces_weights_are_the_papers_for_short_task_vectors() -> None:
    """One parent moved ten times as far as the other: a hundred times the weight, and with the floor the same."""
    base = torch.zeros(64)
    far, near = torch.full((64,), 1e-3), torch.full((64,), 1e-4)
    assert float(run("sce", [far, near], base)[0]) == pytest.approx((100 * 1e-3 + 1e-4) / 101, rel=1e-5)
    assert float(run("sce", [far, near], base, floor=1e-5)[0]) == pytest.approx((1e-3 + 1e-4) / 2, rel=1e-5)


def test_ram_keeps_lone_changes_and_averages_shared_ones() -> None:
    base = torch.zeros(4)
    parents = [torch.tensor([1.0, 2.0, 0.0, 1e-6]), torch.tensor([0.0, 4.0, 0.0, 0.0])]
    assert run("ram", parents, base).tolist() == [1, 3, 0, 0]
    # Parent 1 changed one element alone and shares one: rho = 1, cut to alpha.
    child = run("ramplus_tl", parents, base, r=0.5, alpha=0.4)
    assert child.tolist() == pytest.approx([1.2, 3, 0, 0])
    base, parents = torch.zeros(4), [torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0.0, 3.0, 0.0, 0.0])]
    assert run("ramplus_tl", parents, base, r=0.3, alpha=1.0).tolist() == pytest.approx([1.1, 2, 1.1, 1.1])


def test_sce_selects_among_the_elements_that_vary() -> None:
    """Four of eight vary: half of those, the two of largest variance, are kept."""
    base = torch.zeros(8)
    parents = [torch.tensor([1.0, 2.0, 3.0, 4.0, 1.0, 1.0, 1.0, 1.0]), torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])]
    assert run("sce", parents, base, select_topk=0.5).tolist() == [0, 0, 3, 4, 0, 0, 0, 0]
    assert run("sce", parents, base, select_topk=0.2).tolist() == [0] * 8  # 0.8 of an element is none


@given(seed=seeds)
def test_arcee_fusion_takes_what_lies_beyond_the_quartiles(seed: int) -> None:
    """Divergences and quartiles by other means: torch's divergence, and a sorted list."""
    generator = torch.Generator().manual_seed(seed)
    father = torch.randn(7, 31, generator=generator)
    other = father + 0.3 * torch.randn(7, 31, generator=generator)
    q, p = ((tensor.double().softmax(-1) + 1e-8).log() for tensor in (father, other))
    divergence = torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1, keepdim=True)
    values = (other - father).abs() * divergence
    ranked = values.flatten().sort().values.tolist()
    level = ranked[108] + 1.5 * (ranked[162] - ranked[54])
    child = run("arcee_fusion", [father, other], None)
    far = (values - level).abs() > 1e-5 * level
    assert torch.equal(child[far], torch.where(values >= level, other, father)[far])
    assert 0 < int((child == other).sum()) < child.numel() / 2


@given(seed=seeds, t=st.floats(0, 1))
def test_nearswap_is_a_step_of_at_most_t(seed: int, t: float) -> None:
    (father, other), _ = family(2, seed)
    child = nearswap([father, other], t=t)
    near = (other - father).abs() <= t
    assert torch.equal(child[near], other[near])
    torch.testing.assert_close((child - father)[~near].abs(), torch.full_like(child[~near], t), rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="at least 0"):
        nearswap([father, other], t=-1.0)


@given(seed=seeds, density=st.floats(0, 1), gamma=st.floats(0, 1))
def test_two_sided_keeps_the_middle(seed: int, density: float, gamma: float) -> None:
    vector = torch.randn(211, generator=torch.Generator().manual_seed(seed))
    kept = two_sided(vector, density, gamma)
    assert int(kept.sum()) == (211 if density >= 1 else int(density * 211))
    ranked = vector.abs().sort().values
    below = max(0, 211 - int(density * 211) - int(gamma * 211))
    assert torch.equal(vector.abs()[kept].sort().values, ranked[below : below + int(kept.sum())])


@pytest.mark.parametrize("rescale", ["inverse_density", "l1", "none"])
def test_della_linear_keeps_the_mean_task_vector(rescale: str) -> None:
    """Rescaled by each probability the mean over many draws is task arithmetic; the L1 norm stays with ``l1``."""
    (parent,), base = family(1)
    vector, total = parent - base, torch.zeros(SHAPE)
    for seed in range(400):
        part = Part(parent, 0.5, density=0.5, epsilon=0.4, draws=uniform(SHAPE, seed, "a", "father"))
        child = della_linear([part], base, rescale=rescale, scale=2.0)
        if rescale == "l1":
            assert float((child - base).abs().sum()) == pytest.approx(float(vector.abs().sum()), rel=1e-5)
        total += (child - base) / 400
    expected = {"inverse_density": 1.0, "none": 0.5}
    if rescale in expected:
        slope = float((total * vector).sum() / vector.square().sum())
        assert slope == pytest.approx(expected[rescale], abs=0.03 if rescale == "inverse_density" else 0.1)
    with pytest.raises(ConfigError, match="density 0.5 drops at random"):
        della_linear([Part(parent, density=0.5)], base)


@pytest.mark.parametrize("method", SPARSE)
def test_without_dropping_it_is_task_arithmetic_or_its_election(method: str) -> None:
    parents, base = family(3)
    child = run(method, parents, base, [1.0, 0.5, -0.25], scale=0.5)
    vectors = [w * (parent - base) for w, parent in zip((1.0, 0.5, -0.25), parents, strict=True)]
    if method == "breadcrumbs_ties":
        merged = elect(vectors, (1.0, 0.5, -0.25), "ratio")
    else:
        merged = sum(vectors, torch.zeros(SHAPE))
    torch.testing.assert_close(child, base + 0.5 * merged)


def test_the_table_is_read_without_torch() -> None:
    words = "import sys; from darwin_mri.merging.methods import METHODS; assert len(METHODS) == 13"
    done = subprocess.run([sys.executable, "-c", f"{words}; print('torch' in sys.modules)"], capture_output=True)
    assert done.stdout.strip() == b"False", done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_the_table_names_what_the_function_takes(method: str) -> None:
    """Same parameters, same defaults; those of single parents are fields of ``Part``."""
    spec = METHODS[method]
    signature = inspect.signature(spec.function).parameters
    shared = {p.name: p.default for p in spec.parameters if not p.per_parent}
    assert shared == {name: p.default for name, p in signature.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    own = {p.name: p.default for p in spec.parameters if p.per_parent}
    assert own == {name: getattr(Part(torch.zeros(1)), name) for name in own}
    assert ("weights" in signature or spec.sparse) == (spec.weights == "per_parent")
    assert ("base" in signature) == (spec.base != "none")
    for parameter in spec.parameters:
        assert not parameter.fault(parameter.default)
        assert not isinstance(parameter.default, float) or parameter.fault(math.nan)


def test_the_guide_has_every_method_with_its_parents() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "merging.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in guide.splitlines()]
    rows = {row[1].strip("`"): row for row in cells if len(row) == 7}
    for name in OPERATORS:
        assert name in rows
    for name, spec in METHODS.items():
        least, most = spec.parents
        parents = f"{least}" if least == most else f"{least}+"
        wanted = parents + {"required": ", base", "optional": " (base)", "none": ""}[spec.base]
        assert wanted == rows[name][3], name


@pytest.mark.parametrize(
    ("method", "count", "base", "given", "words"),
    [
        ("soup", 2, True, Weighing(), "'soup' is unknown: choose one of passthrough"),
        ("nuslerp", 3, True, Weighing(), "nuslerp merges 2 parents, not 3"),
        ("karcher", 1, True, Weighing(), "karcher merges 2 or more parents, not 1"),
        ("model_stock", 2, False, Weighing(), "model_stock needs a base model"),
        ("sce", 2, True, Weighing((1.0, 1.0)), "sce takes no weights of parents"),
        ("karcher", 3, True, Weighing((1.0, 1.0)), "one weight for each of 3 parents, not 2"),
        ("karcher", 2, True, Weighing((1.0, -1.0)), "sum to 0"),
        ("sce", 2, True, Weighing(values={"topk": 1}), "parameter 'topk' of sce is unknown: it has select_topk, floor"),
        ("arcee_fusion", 2, True, Weighing(values={"t": 1}), "it has none"),
        ("sce", 2, True, Weighing(values={"select_topk": 2.0}), "select_topk 2.0 must be a finite number at least 0"),
        ("karcher", 2, True, Weighing(values={"max_iter": 1.5}), "max_iter 1.5 must be a whole number at least 0"),
        ("nuslerp", 2, True, Weighing(values={"flatten": 1}), "flatten 1 must be true or false"),
        (
            "breadcrumbs",
            2,
            True,
            Weighing(values={"density": [0.5]}),
            "density of breadcrumbs takes one value for each",
        ),
        ("breadcrumbs", 2, True, Weighing(values={"scale": [0.5]}), "scale of breadcrumbs takes one value, not"),
        ("breadcrumbs", 2, True, Weighing(values={"density": [0.5, "x"]}), "density 'x' must be a finite number"),
        ("breadcrumbs_ties", 2, True, Weighing(values={"divide": "mean"}), "divide 'mean' is unknown"),
    ],
)
def test_what_a_method_cannot_take_is_refused(method: str, count: int, base: bool, given: Weighing, words: str) -> None:
    parents, origin = family(count)
    with pytest.raises(ConfigError, match=words):
        merge(method, parents, origin if base else None, given, "a")


def test_tensors_that_do_not_belong_together_are_refused() -> None:
    parents, base = family(2)
    with pytest.raises(InputError, match=r"'a.weight' has shape \(35,\), not the father's \(6, 35\)"):
        merge("ram", [parents[0], parents[1][0]], base, Weighing(), "a.weight")
    with pytest.raises(InputError, match=r"'a.weight' is torch.int64"):
        merge("ram", parents, base.long(), Weighing(), "a.weight")
