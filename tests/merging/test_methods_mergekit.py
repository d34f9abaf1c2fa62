"""Every method writes mergekit 0.1.5's tensor to one rounding of the output type, on the same inputs.

The oracle runs once, where DARWIN_MRI_MERGEKIT_PYTHON names an interpreter that has mergekit, which is never imported.
Elements on which the definitions differ on purpose are found by the methods' own words (``undefined``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from darwin_mri.merging.methods.apply import Weighing, merge
from darwin_mri.merging.methods.arcee_fusion import importance, threshold
from darwin_mri.merging.methods.sce import selected
from darwin_mri.merging.methods.sparse import two_sided
from tests.merging.oracle import run_in_mergekit

SHAPES = {"norm": (48,), "matrix": (24, 24), "tall": (60, 8), "wide": (8, 60), "experts": (4, 12, 10)}
KINDS = ("siblings", "one untouched", "all untouched", "equal", "small steps")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WEIGHTS = (1.0, 0.5, 0.8, -0.3, 0.25)
DENSITIES = (0.5, 0.7, 0.3, 0.6, 1.0)
PAIRS = ("arcee_fusion", "nearswap")
RUN = """
import json, sys
import torch
from safetensors.torch import load_file, save_file
from mergekit.merge_methods import merge_tensors
cases, inputs, out = json.load(open(sys.argv[1])), load_file(sys.argv[2]), {}
for case in cases:
    tensors = [inputs[key] for key in case["parents"]]
    count = len(tensors)
    if case["base"]:
        tensors.append(inputs[case["base"]])
    masks = iter([inputs[key] for key in case["masks"]])
    torch.bernoulli = lambda chances: next(masks).to(chances.dtype).reshape(chances.shape)
    own = {key: dict(enumerate(value)) if isinstance(value, list) else value for key, value in case["values"].items()}
    try:
        out[case["name"]] = merge_tensors(
            tensors, case["method"], parameters=own, ids=[*range(count), "base"][: len(tensors)],
            base_index=case["base_index"], dtype=torch.float32, out_dtype=tensors[0].dtype,
        ).contiguous()
    except ValueError as error:
        print(case["name"], error)
save_file(out, sys.argv[3])
"""


@dataclass(frozen=True)
class Case:
    """One call: ours by ``values``, mergekit's by ``recipe``; inputs by kind, shape, dtype and number of parents."""

    method: str
    count: int
    kind: str
    shape: str
    dtype: str
    base: bool = True
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    weights: tuple[float, ...] = ()
    drawn: bool = False

    @property
    def inputs(self) -> str:
        return f"{self.kind}/{self.shape}/{self.dtype}"

    @property
    def name(self) -> str:
        return f"{self.method}/{self.count}/{self.inputs}/{self.base}/{self.recipe}"

    def call(self) -> dict[str, Any]:
        """What the oracle is told; a method of a pair has its father as mergekit's base."""
        pair = self.method in PAIRS
        return {
            "name": self.name,
            "method": self.method,
            "parents": [f"{self.inputs}/{k}" for k in range(self.count)],
            "base": "" if pair or not self.base else f"{self.inputs}/base",
            "base_index": 0 if pair else self.count if self.base else None,
            "masks": [f"{self.inputs}/mask{k}" for k in range(self.count)] if self.drawn else [],
            "values": self.recipe,
        }


def families() -> Iterator[tuple[str, Tensor]]:
    """Five parents, their base and five masks of each kind, shape and dtype, by name."""
    for place, (shape, size) in enumerate(SHAPES.items()):
        for kind in KINDS:
            generator = torch.Generator().manual_seed(place)
            base = torch.randn(size, generator=generator)
            length = 1e-4 if kind == "small steps" else 0.1
            steps = [length * torch.randn(size, generator=generator) for _ in range(5)]
            if kind == "one untouched":
                steps[1].zero_()
            if kind == "all untouched":
                steps = [step * 0 for step in steps]
            if kind == "equal":
                steps = [steps[0]] * 5
            for dtype, torch_dtype in DTYPES.items():
                yield f"{kind}/{shape}/{dtype}/base", base.to(torch_dtype)
                for k, step in enumerate(steps):
                    yield f"{kind}/{shape}/{dtype}/{k}", (base + step).to(torch_dtype)
                    mask = torch.rand(size, generator=generator) < DENSITIES[k]
                    yield f"{kind}/{shape}/{dtype}/mask{k}", mask.float()


def settings(count: int) -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """What is compared by method, for a number of parents: our parameters, and the recipe's where they differ."""
    densities = [*DENSITIES[:count]]
    named = {"flatten": "nuslerp_flatten", "row_wise": "nuslerp_row_wise"}
    rescaled = {"r": 0.3, "alpha": 0.9}
    trims, elections, drops = [], [], []
    for normalize, rescale, scale in ((False, "none", 1.0), (True, "l1", 0.7)):
        own = {"density": densities, "gamma": [0.1] * count, "rescale": rescale, "scale": scale}
        recipe = {"density": densities, "gamma": 0.1, "rescale": rescale == "l1", "lambda": scale}
        recipe["normalize"] = normalize
        trims.append((own | {"normalize": normalize}, recipe))
        elections.append((own | {"divide": "weights" if normalize else "none"}, recipe))
    for density, normalize in ((1.0, False), (0.6, True), (0.6, False)):
        own = {"density": density, "epsilon": 0.2, "rescale": "l1", "normalize": normalize, "scale": 0.7}
        drops.append((own, {"density": density, "epsilon": 0.1, "lambda": 0.7, "normalize": normalize}))
    angles: list[dict[str, Any]] = [{}, {"flatten": False}, {"flatten": False, "row_wise": True}]
    return {
        "nuslerp": [(own, {named[key]: value for key, value in own.items()}) for own in angles],
        "multislerp": [({"normalize": flag}, {"normalize_weights": flag}) for flag in (True, False)],
        "karcher": [(own, own) for own in ({}, {"max_iter": 2}, {"max_iter": 0})],
        "model_stock": [({"filter_wise": own, "floor": 1e-6}, {"filter_wise": own}) for own in (False, True)],
        "arcee_fusion": [({}, {})],
        "nearswap": [({"t": t}, {"t": t}) for t in (0.03, 1e-5)],
        "sce": [({"select_topk": share, "floor": 1e-6}, {"select_topk": share}) for share in (1.0, 0.6, 0.0)],
        "ram": [({}, {}), ({"threshold": 0.05}, {"epsilon": 0.05})],
        "ramplus_tl": [({}, {}), ({"threshold": 0.05, **rescaled}, {"epsilon": 0.05, **rescaled})],
        "della_linear": drops,
        "breadcrumbs": trims,
        "breadcrumbs_ties": elections,
    }


METHODS = tuple(settings(2))
WEIGHED = ("nuslerp", "multislerp", "della_linear", "breadcrumbs", "breadcrumbs_ties")
BASES = {"nuslerp": (True, False), "multislerp": (True, False), "karcher": (False,)}


def cases(method: str) -> list[Case]:
    """Two parents or two, three and five, every kind, shape and dtype, and the method's settings."""
    made: list[Case] = []
    for count in (2,) if method in ("nuslerp", *PAIRS) else (2, 3, 5):
        weights = WEIGHTS[:count] if method in WEIGHED else ()
        for own, recipe in settings(count)[method]:
            named = recipe | ({"weight": [*weights]} if weights else {})
            drawn = method == "della_linear" and own["density"] < 1
            made += [
                Case(method, count, kind, shape, dtype, base, own, named, weights, drawn)
                for kind in KINDS
                for shape in SHAPES
                for dtype in DTYPES
                for base in BASES.get(method, (True,))
            ]
    return made


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs, and mergekit's tensor of every case, all in one process of its own."""
    root, inputs = tmp_path_factory.mktemp("methods"), dict(families())
    save_file(inputs, root / "in.safetensors")
    jobs = [case.call() for method in METHODS for case in cases(method)]
    (root / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    run_in_mergekit(RUN, *(root / name for name in ("jobs.json", "in.safetensors", "out.safetensors")))
    return inputs, load_file(root / "out.safetensors")


def undefined(case: Case, parents: Sequence[Tensor], base: Tensor) -> Tensor:
    """Elements on which the definitions differ: equal values at an edge, vectors that cancel, rounding at a level."""
    vectors = [parent.float() - base.float() for parent in parents]
    differ = torch.zeros(base.shape, dtype=torch.bool)
    if case.method == "arcee_fusion":
        values = importance(parents[0].float(), parents[1].float())
        differ = (values - threshold(values)).abs() < 1e-3 * threshold(values)
    elif case.method == "sce":
        differ = torch.stack(vectors).sum(dim=0).abs() < 1e-7
    elif case.method.startswith("breadcrumbs"):
        trimmed = torch.zeros_like(vectors[0])
        for vector, density, weight in zip(vectors, case.values["density"], case.weights, strict=True):
            kept = two_sided(vector, density, 0.1)
            trimmed += weight * vector * kept
            if int(kept.sum()) > int(density * vector.numel()):  # more than asked for: equal magnitudes at an edge
                edges = vector.abs()[kept].aminmax()
                differ |= (vector.abs() == edges.min) | (vector.abs() == edges.max)
        if case.method == "breadcrumbs_ties":
            differ |= trimmed.abs() < 1e-7
    return differ


def differs(case: Case, parents: Sequence[Tensor], base: Tensor) -> bool:
    """Whether the whole tensor is another on purpose.

    Equal magnitudes at an edge change an L1 norm or a mean square, and with it every element. Of nearly equal parents
    the angles (karcher) and divergences (arcee_fusion) are rounding errors in mergekit's fp32.
    """
    vectors = [parent.float() - base.float() for parent in parents]
    if case.kind == "small steps" and case.method in ("karcher", "arcee_fusion"):
        return case.values.get("max_iter", 1) > 0
    if case.method == "sce":
        varying = int(torch.stack(vectors).var(dim=0, unbiased=False).count_nonzero())
        return case.values["select_topk"] < 1 and int(selected(vectors, case.values["select_topk"]).sum()) > int(
            varying * case.values["select_topk"]
        )
    if case.method.startswith("breadcrumbs") and case.values["rescale"] == "l1":
        pairs = zip(vectors, case.values["density"], strict=True)
        return any(int(two_sided(v, density, 0.1).sum()) > int(density * v.numel()) for v, density in pairs)
    return False


@pytest.mark.parametrize("method", METHODS)
def test_parity_with_mergekit(oracle: tuple[dict[str, Tensor], dict[str, Tensor]], method: str) -> None:
    inputs, expected = oracle
    compared, faults = 0, []
    for case in cases(method):
        parents = [inputs[f"{case.inputs}/{k}"] for k in range(case.count)]
        base = inputs[f"{case.inputs}/base"]
        if differs(case, parents, base):
            continue
        if case.name not in expected:  # mergekit's error where three or more task vectors are zero
            assert (method, case.kind) == ("multislerp", "all untouched") and case.base and case.count > 2
            continue
        # A draw of 0 keeps an element and one near 1 drops it, whatever its probability.
        draws = [(1 - inputs[f"{case.inputs}/mask{k}"]) * (1 - 2**-24) for k in range(case.count)] if case.drawn else []
        given = Weighing(case.weights, case.values, draws)
        ours = merge(method, parents, base if case.base else None, given, "x").to(base.dtype)
        theirs = expected[case.name]
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        largest = max(float(tensor.float().abs().max()) for tensor in (*parents, theirs))
        one, two = ours.float(), theirs.float()
        step = torch.maximum(one.abs(), two.abs()) * 2**-7 if case.dtype == "bf16" else 0.0
        same = ~undefined(case, parents, base)
        wrong = ((one - two).abs() > step + 4e-6 * largest) & same
        compared += int(same.sum())
        if bool(wrong.any()):
            faults.append(f"{case.name}: {int(wrong.sum())} of {wrong.numel()}, {float((one - two).abs().max()):.2g}")
    assert not faults, "\n".join(faults[:20])
    assert compared > 10_000, compared
    print(compared, sum(c.method == method for c in cases(method)))
