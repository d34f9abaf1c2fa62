"""A release holds the package and its data, under 60 MB, and no test; its source builds the same wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from darwin_mri import __version__

ROOT = Path(__file__).parents[1]
MOST_BYTES = 60_000_000
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, 'build_' + sys.argv[1])(sys.argv[2])"


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or an sdist of a folder by the backend that pyproject.toml names."""
    out.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, kind, str(out)], cwd=source, check=True, capture_output=True)
    return next(iter(out.iterdir()))


def test_the_source_builds_a_wheel_that_holds_the_package_and_its_data(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"  # a build leaves files in the folder it builds
    source.mkdir()
    for name in ("LICENSE", "MANIFEST.in", "NOTICE", "README.md", "CHANGELOG.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "darwin_mri", source / "darwin_mri", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    (source / "tests" / "test_a.py").touch()

    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert not (unpacked / "tests").exists() and (unpacked / "CHANGELOG.md").is_file()

    wheel = build("wheel", unpacked, tmp_path / "wheel")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {str(path.relative_to(source)) for path in (source / "darwin_mri").rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == inside
    assert any(name.endswith("/licenses/NOTICE") for name in names)
    assert max(sdist.stat().st_size, wheel.stat().st_size) < MOST_BYTES


def test_all_files_that_state_the_version_state_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == citation["version"] == __version__
    assert project["license"] == citation["license"]


def test_what_the_workflows_call_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in (ROOT / ".github/workflows" / name for name in ("tests.yml", "docs.yml", "release.yml")):
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
        for line in (step["run"] for job in jobs for step in job["steps"] if "run" in step):
            assert not line.startswith("make ") or f"\n{line.removeprefix('make ')}:" in makefile, (
                f"{path.name}: {line}"
            )
            assert not line.startswith(".") or (ROOT / line).is_file()
