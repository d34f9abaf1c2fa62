"""``plan`` and ``breed`` ask the same questions: what one refuses the other lists, before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darwin_mri import pipeline
from darwin_mri.errors import DarwinError
from tests.family import small
from tests.toys import pico

Change = Callable[[Path, dict[str, Path]], dict[str, Any]]


def of_experts(counts: tuple[int, int], **changes: Any) -> Change:
    def change(root: Path, family: dict[str, Path]) -> dict[str, Any]:
        folders = {
            role: pico("mixtral", root / role, seed=n, num_local_experts=count)
            for n, (role, count) in enumerate(zip(("father", "mother"), counts, strict=True))
        }
        return {role: str(folder) for role, folder in folders.items()} | {"base": None} | changes

    return change


def without_tokenizer(root: Path, family: dict[str, Path]) -> dict[str, Any]:
    mute = shutil.copytree(family["sister"], root / "mute", ignore=shutil.ignore_patterns("tokenizer*"))
    return {"mother": str(mute)}


def other_activation(root: Path, family: dict[str, Path]) -> dict[str, Any]:
    mother = Path(shutil.copytree(family["sister"], root / "other"))
    config = json.loads((mother / "config.json").read_text())
    (mother / "config.json").write_text(json.dumps({**config, "hidden_activation": "relu"}))
    return {"mother": str(mother)}


REFUSED: dict[str, tuple[Change, str]] = {
    "an arm between parents of experts alone": (of_experts((2, 2), method="raw"), "has no plain FFN in any layer"),
    "other counts of experts": (of_experts((2, 4)), "mother has 4 experts in layer 0, the father 2"),
    "a mother without a tokenizer": (without_tokenizer, "mute has no tokenizer that loads"),
    "a mother of another activation": (other_activation, "hidden_activation relu, the father gelu_pytorch_tanh"),
    "no base": (lambda root, family: {"method": "ties", "base": None}, "needs a base model"),
    "settings of no tensor": (lambda root, family: {"tensors": {"*.mpl.*": {"density": 0.5}}}, "'*.mpl.*' fits no"),
    "an unknown setting": (lambda root, family: {"tensors": {"*.mlp.*": {"densty": 0.5}}}, "'densty' is unknown"),
    "no probes": (lambda root, family: {"scan": {"probes": str(root / "probes")}}, "probes"),
    "no benchmark files": (
        lambda root, family: {"data": str(root), "bench": {"tasks": ["nursery_click", "nursery_musr", "click"]}},
        "click",
    ),
    "no baseline": (lambda root, family: {"bench": {"baseline": str(root / "none")}}, "none"),
    "no such backend": (lambda root, family: {"bench": {"backend": "hff"}}, "no backend 'hff'"),
    "no address": (lambda root, family: {"bench": {"endpoint": {"url": "nowhere", "model": "m"}}}, "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_breed_refuses_is_in_the_plan(case: str, family: dict[str, Path], tmp_path: Path) -> None:
    change, words = REFUSED[case]
    config = small(family, **change(tmp_path, family))
    plan = pipeline.plan(config, tmp_path / "run", offline=True)
    assert not plan.fits and any(words in problem for problem in plan.problems), plan.problems
    with pytest.raises(DarwinError) as refused:
        pipeline.breed(config, tmp_path / "run", offline=True)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_nothing_forbids_has_a_plan_without_problems(family: dict[str, Path], tmp_path: Path) -> None:
    assert pipeline.plan(small(family), tmp_path / "run", offline=True).problems == ()
