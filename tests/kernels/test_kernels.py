"""The CUDA kernels without a GPU: skipped where Triton is not installed (``pip install triton 'numpy<2.4'``, Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")


def run(module: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"tests.kernels.{module}"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        check=False,
    )


def test_the_kernels_agree_with_plain_torch() -> None:
    done = run("interpreted", TRITON_INTERPRET="1")
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("Triton 3.6's interpreter counts no loop with numpy 2.4: it takes numpy 2.3")
    assert done.stdout == "equal\n", done.stderr


def test_the_kernels_compile_for_gpus() -> None:
    done = run("compiled")
    assert done.stdout == "compiled\n", done.stderr
