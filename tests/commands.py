"""The command line, run in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri import cli


def call(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str | Path
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command with these words."""
    monkeypatch.setattr(sys, "argv", ["darwin-mri", *map(str, words)])
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    output = capfd.readouterr()
    code = stopped.value.code
    return (code if isinstance(code, int) else 0), output.out, output.err


def spawn(*words: str | Path | int, **env: str) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, whose streams have an encoding of their own."""
    command = [sys.executable, "-m", "darwin_mri", *map(str, words)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **env}, timeout=300)
