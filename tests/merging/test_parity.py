"""Each method's child of 2, 3 and 5 parents is mergekit 0.1.5's to one rounding of its type, in five families.

Whole recipes with filters, and an adapter among the parents where mergekit reads one: it fails on adapters of families
whose architecture it derives from the tensors' names. The oracle runs where DARWIN_MRI_MERGEKIT_PYTHON is set.
What a method drops at random is kept here (density 1): the draws differ. ``test_methods_mergekit`` has the masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from darwin_mri.config import OPERATORS
from darwin_mri.merging.settings import OF_TWO
from darwin_mri.stages.recipe import merge_recipe
from tests.merging.oracle import write_children
from tests.merging.test_recipes import STEPS, adapter, tensors_of
from tests.toys import pico

METHODS = [method for method in OPERATORS if method != "replace"]
COUNTS = {method: (2,) if method in OF_TWO else (2, 3, 5) for method in METHODS}
CASES = [(method, count) for method in METHODS for count in COUNTS[method]]
WITH_ADAPTER = ("llama", "qwen2", "gemma2")
FAMILIES = (*WITH_ADAPTER, "gemma4_text", "qwen3_5_text")
LETTERS = ("A", "B", "C", "D", "E")
WEIGHTS = (0.5, 0.4, 0.3, -0.2, 0.25)
OWN: dict[str, dict[str, Any]] = {
    "slerp": {"t": [{"filter": "mlp", "value": [0.1, 0.8]}, {"value": 0.3}]},
    "nearswap": {"t": 0.01},
    "sce": {"select_topk": 0.6},
    "ties": {"density": [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]},
    "breadcrumbs": {"density": 0.8, "gamma": 0.1},
    "breadcrumbs_ties": {"density": 0.8, "gamma": 0.1},
    "dare_linear": {"density": 1.0},
    "dare_ties": {"density": 1.0},
    "della": {"density": 1.0, "epsilon": 0.0},
    "della_linear": {"density": 1.0, "epsilon": 0.0},
}
UNWEIGHED = ("slerp", "nearswap", "arcee_fusion", "karcher", "model_stock", "sce", "ram", "ramplus_tl")
EDGES = {"sce": 0.08} | dict.fromkeys(
    ("ties", "dare_ties", "della", "breadcrumbs", "breadcrumbs_ties", "ram", "ramplus_tl", "arcee_fusion"), 0.03
)
"""Share of elements at an edge or of vectors that cancel, where mergekit keeps some by their place.

``test_methods_mergekit`` finds these elements one by one; here they are counted. Differences of bf16 values are often
equal, between the norms of small models most of all: six elements more are allowed."""


def recipe(method: str, count: int, at: dict[str, Path]) -> dict[str, Any]:
    """A recipe of that many parents; where there is an adapter, the last of three or more is the base with it."""
    parents = [str(at[letter]) for letter in LETTERS[:count]]
    if count > 2 and "ADAPTER" in at:
        parents[-1] = f"{at['BASE']}+{at['ADAPTER']}"
    models: list[dict[str, Any]] = [{"model": parent} for parent in parents]
    if method not in UNWEIGHED:
        for model, weight in zip(models, WEIGHTS, strict=False):
            model["parameters"] = {"weight": [{"filter": "mlp", "value": [weight, weight / 2]}, {"value": weight}]}
    data = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method in ("slerp", "nearswap", "arcee_fusion"):
        data["base_model"] = parents[0]
    elif method not in ("linear", "karcher", "multislerp"):
        data["base_model"] = str(at["BASE"])
    return data | ({"parameters": OWN[method]} if method in OWN else {})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Five siblings of a base and an adapter for it, by family."""
    root = tmp_path_factory.mktemp("parity")
    at: dict[str, dict[str, Path]] = {}
    for family in FAMILIES:
        folders = {name: root / family / name for name in ("BASE", *LETTERS)}
        at[family] = {name: pico(family, folders[name], seed=i, dtype="bfloat16") for i, name in enumerate(folders)}
        if family in WITH_ADAPTER:
            at[family]["ADAPTER"] = adapter(root / family / "adapter", 7, at[family]["BASE"])
    return at


@pytest.fixture(scope="module")
def oracle(models: dict[str, dict[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mergekit's children, its arithmetic in fp32 as ours is."""
    root = tmp_path_factory.mktemp("oracle")
    in_fp32 = {"dtype": "float32", "out_dtype": "bfloat16"}
    jobs = [
        (recipe(method, count, models[family]) | in_fp32, root / f"{family}-{method}-{count}")
        for family in FAMILIES
        for method, count in CASES
    ]
    write_children(jobs, root, lora_merge_cache=str(root / "lora"), lora_merge_dtype="float32", copy_tokenizer=False)
    return root


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("method", "count"), CASES)
def test_the_child_is_mergekits(
    oracle: Path, models: dict[str, dict[str, Path]], tmp_path: Path, family: str, method: str, count: int
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe(method, count, models[family])), encoding="utf-8")
    merge_recipe(tmp_path / "recipe.yaml", tmp_path / "child", offline=True)
    own, theirs = tensors_of(tmp_path / "child"), tensors_of(oracle / f"{family}-{method}-{count}")
    shared = own.keys() & theirs.keys()
    assert len(shared) >= len(own) - 8  # mergekit leaves out Gemma 4's layer scalars
    for key in shared:
        one, two = own[key], theirs[key]
        assert one.dtype == two.dtype == torch.bfloat16 and one.shape == two.shape
        step = torch.maximum(one.float().abs(), two.float().abs()) * STEPS[one.dtype] + 1e-6
        wrong = int(((one.float() - two.float()).abs() > step).sum())
        assert wrong <= (EDGES[method] * one.numel() + 6 if method in EDGES else 0), f"{key}: {wrong} of {one.numel()}"
