"""The guard refuses what leaves this machine, here and in processes that tests start, and lists it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

LEAVE = "import socket; socket.create_connection(('198.51.100.7', 80), timeout=1)"  # of RFC 5737: nobody's
ASK = "import socket; socket.getaddrinfo('example.invalid', 443)"


@pytest.fixture
def attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of their own, so that these attempts do not fail the run."""
    monkeypatch.setenv("DARWIN_MRI_GUARD", str(tmp_path / "attempts.txt"))
    return tmp_path / "attempts.txt"


@pytest.mark.parametrize("code", [LEAVE, ASK])
def test_a_process_that_leaves_is_refused_and_listed(attempts: Path, code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "tests stay on this machine" in done.stderr
    assert attempts.read_text().count("\n") == 1


@pytest.mark.parametrize("code", [LEAVE, ASK])
def test_this_process_is_refused_as_well(attempts: Path, code: str) -> None:
    with pytest.raises(OSError, match="tests stay on this machine"):
        exec(code)
    assert attempts.is_file()


def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
    assert socket.getaddrinfo("localhost", 80) and os.environ["DARWIN_MRI_GUARD"]
