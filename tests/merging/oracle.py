"""The oracle: mergekit 0.1.5 in an interpreter of its own, which DARWIN_MRI_MERGEKIT_PYTHON names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ORACLE = os.environ.get("DARWIN_MRI_MERGEKIT_PYTHON")
RUN = """
import json, sys
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
jobs, options = json.load(open(sys.argv[1]))
for recipe, out in jobs:
    run_merge(MergeConfiguration.model_validate(recipe), out, MergeOptions(quiet=True, **options))
"""


def run_in_mergekit(code: str, *arguments: Path) -> str:
    """What a program prints in mergekit's interpreter; the test is skipped where there is none."""
    if not ORACLE:
        pytest.skip("DARWIN_MRI_MERGEKIT_PYTHON names no interpreter with mergekit 0.1.5")
    done = subprocess.run(
        [ORACLE, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def write_children(jobs: Iterable[tuple[dict[str, Any], Path]], root: Path, **options: Any) -> None:
    """Write mergekit's children, all in one process.

    Args:
        jobs: recipe and the child's folder.
        root: for the list of jobs.
        **options: of mergekit's ``MergeOptions``.
    """
    listed = [(recipe, str(out)) for recipe, out in jobs]
    (root / "jobs.json").write_text(json.dumps((listed, options)), encoding="utf-8")
    run_in_mergekit(RUN, root / "jobs.json")
