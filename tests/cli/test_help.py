"""Every command's help names each of its options, ends with exit code 0, and loads no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer.main
from rich.text import Text
from typer.core import TyperGroup

from darwin_mri.cli import app
from tests.commands import call

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
NURSERY = GROUP.commands["nursery"]
assert isinstance(NURSERY, TyperGroup)
COMMANDS = {(): GROUP, ("nursery", "train"): NURSERY.commands["train"]}
COMMANDS |= {(name,): command for name, command in GROUP.commands.items()}


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "darwin-mri")
def test_help_of_a_command_names_its_options(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    code, stdout, stderr = call(capfd, monkeypatch, *words, "--help")
    text = Text.from_ansi(stdout).plain
    options = [option for parameter in COMMANDS[words].params for option in parameter.opts if option.startswith("--")]
    assert code == 0 and not stderr and options
    assert not [option for option in options if option not in text.split()]


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom darwin_mri import cli\nsys.argv = ['darwin-mri', 'breed', '--help']\n"
        "try:\n    cli.main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0 and "--resume" in process.stdout, process.stderr
