"""Packages whose names are imported on first use: light to import, and complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

from darwin_mri import checkpoints, merging


@pytest.mark.parametrize("package", ["darwin_mri", "darwin_mri.checkpoints", "darwin_mri.merging"])
def test_importing_a_package_loads_neither_torch_nor_transformers(package: str) -> None:
    record = "darwin_mri.Scan; " if package == "darwin_mri" else ""  # records need no torch either
    code = f"import sys, {package}\n{record}assert not {{'torch', 'transformers'}} & set(sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr


def test_the_pipeline_loads_pycma_and_scipys_statistics_no_earlier_than_they_are_needed() -> None:
    code = "import sys, darwin_mri.pipeline\nassert not {'cma', 'matplotlib', 'scipy.stats'} & set(sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize("package", [checkpoints, merging])
def test_every_name_resolves_and_an_unknown_one_does_not(package: object) -> None:
    names = getattr(package, "__all__")  # noqa: B009 - resolved at run time, like the names
    assert len(names) > 10 and set(names) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'Candidat'"):
        getattr(package, "Candidat")  # noqa: B009
