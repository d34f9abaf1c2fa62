"""One server of commands and one unbroken run for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.runs import Place, make_family
from tests.reliability.server import Server


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Starts commands in processes of their own."""
    server = Server({**os.environ})
    yield server
    server.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Role -> folder of the smallest parents."""
    return make_family(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def place(server: Server, made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with all that the commands of a module may touch."""
    return Place(tmp_path_factory.mktemp("place"), server, made)


@pytest.fixture(scope="module")
def disk(place: Place) -> Iterator[Path]:
    """A small disk of its own."""
    path = place.root / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a disk")
    yield path
    subprocess.run(["umount", path], check=True)
