"""Settings every test needs before a library reads them: no hub, no tokenizer threads, no clock, a cache of its own."""

from __future__ import annotations

import atexit
import os
import runpy
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["DARWIN_MRI_CACHE"] = tempfile.mkdtemp(prefix="darwin_mri-cache-")
atexit.register(shutil.rmtree, os.environ["DARWIN_MRI_CACHE"], ignore_errors=True)
os.environ["TOKENIZERS_PARALLELISM"] = "false"

GUARD = Path(__file__).parent / "guard"
if "DARWIN_MRI_GUARD" not in os.environ:  # else a worker of pytest-xdist, whose controller keeps the list
    os.environ["DARWIN_MRI_GUARD"] = str(Path(os.environ["DARWIN_MRI_CACHE"]) / "attempts.txt")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH")]))
runpy.run_path(str(GUARD / "sitecustomize.py"))  # this process is under way already

# A busy machine must not fail a property, and the same commit must always test the same examples.
settings.register_profile("darwin_mri", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("darwin_mri")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which something tried to leave this machine has failed, whoever swallowed the refusal."""
    attempts = Path(os.environ["DARWIN_MRI_GUARD"])
    if hasattr(session.config, "workerinput") or not attempts.is_file():
        return
    print(f"\nattempts to leave this machine:\n{attempts.read_text(encoding='utf-8')}")
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
