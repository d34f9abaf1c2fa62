"""A sample run folder, written once: renderers never change it."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.report import View, build_view, load_run
from tests.report.sample import write_sample


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("runs") / "genesis")


@pytest.fixture(scope="session")
def view(run: Path) -> View:
    return build_view(load_run(run))
