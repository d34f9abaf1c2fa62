"""What ``test_device.py`` asks of a GPU, asked of a fake device: tensors left on the host are found without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.slow import SLOW

# Whole runs take two minutes; what they put on a device is what the others put there, but for donors and slopes.
CHOSEN = "not float32" if SLOW else "not float32 and not whole_run and not read_text"


def test_nothing_is_left_on_the_host() -> None:
    plugins = ["-p", "tests.fake_device", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *plugins, "-k", CHOSEN, "tests/pipeline/test_device.py"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DARWIN_MRI_TEST_DEVICE": "fake:0"},
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "passed" in done.stdout
