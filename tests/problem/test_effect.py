"""Runs that cannot win are told in one line before they are searched, and go on when the user insists."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from darwin_mri import pipeline
from darwin_mri.errors import GateError
from darwin_mri.problem.effect import require_opening
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import Prior
from tests.family import small

FAST: dict[str, Any] = {"prior": {"preset": "flat"}, "search": {"budget": 2, "population": 2, "finalists": 1}}


def test_parents_that_are_equal_end_the_run_before_its_search(family: dict[str, Path], tmp_path: Path) -> None:
    twin = shutil.copytree(family["father"], tmp_path / "twin")
    config = small(family, mother=str(twin), base=None, method="linear", **FAST)
    with pytest.raises(GateError, match="nothing to search: the other parents' weights equal the father's") as told:
        pipeline.breed(config, tmp_path / "run")
    assert "--force" in str(told.value) and "\n" not in str(told.value)
    assert not (tmp_path / "run" / "ledger.jsonl").exists()
    result = pipeline.breed(config, tmp_path / "run", force=True, resume=True)
    assert result.genome.stopped


def opening(rows: np.ndarray, frozen: bool = False) -> MergeSpace:
    start = SimpleNamespace(
        opening=rows,
        low=np.zeros(rows.shape[1]),
        high=np.ones(rows.shape[1]),
        frozen=np.array([frozen] * rows.shape[1]),
    )
    return cast(MergeSpace, SimpleNamespace(genome=SimpleNamespace(start=lambda _: start)))


def test_an_opening_that_is_the_father_alone_is_told_with_the_priors_reason() -> None:
    prior = cast(Prior, SimpleNamespace(note="all genes at 0 is the better of 0 and 1"))
    with pytest.raises(GateError, match=r"best left at the father \(all genes at 0 is the better of 0 and 1\)"):
        require_opening(opening(np.zeros((3, 4))), prior)
    require_opening(opening(np.outer((1.0, 0.5, 0.0), np.full(4, 0.5))), prior)
    require_opening(opening(np.zeros((3, 4)), frozen=True), prior)  # "nothing to search", which the genome records
