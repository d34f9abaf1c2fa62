"""The CUDA kernels without a GPU: skipped where Triton is not installed (``pip install triton 'numpy<2.4'``, Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("triton") is None, reason="needs triton")
def test_the_kernels_agree_with_plain_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.interpreted"], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"}, check=False,
    )  # fmt: skip
    if "only 0-dimensional arrays" in done.stderr:
        pytest.skip("Triton 3.6's interpreter counts no loop with numpy 2.4: it takes numpy 2.3")
    assert done.stdout == "equal\n", done.stderr
