"""With --offline nothing asks the hub: what is not on this machine is refused in one line, without an attempt."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.commands import spawn

HUB = "nobody-here/no-such-model"
PARENTS = ["--father", HUB, "--mother", "nursery:gemma4-korean"]
GENOME = Path(__file__).parents[2] / "reports/nursery/opus/genome.json"
MODEL = f"darwin-mri: {HUB}: no such folder, and not in the hub's cache on this machine, which --offline or "
COMMANDS = {
    "scan": (["scan", HUB], MODEL),
    "adapter": (["scan", f"nursery:gemma4-korean+{HUB}"], MODEL),
    "gguf": (["scan", f"{HUB}:model.gguf"], MODEL),
    "breed": (["breed", *PARENTS], MODEL),
    "plan": (["plan", *PARENTS], MODEL),
    "merge": (["merge", "--genome", GENOME, "--father", HUB], MODEL),
    "check": (["check", "nursery:gemma4-korean", "--father", HUB], MODEL),
    "bench": (["bench", HUB, "--tasks", "nursery_click"], MODEL),
    "benchmark": (["bench", "nursery:gemma4-korean", "--tasks", "click"], "darwin-mri: EunsuKim/CLIcK is on the hub "),
}


def run(words: list[str | Path], folder: Path, *more: str) -> tuple[subprocess.CompletedProcess[bytes], list[str]]:
    """The command, free to ask the hub for all that its environment says, and its attempts to do so."""
    attempts = folder / "attempts.txt"
    where = [] if words[0] in ("check", "plan") else ["--out", folder / "out"]
    done = spawn(
        *words, *where, *more, HF_HUB_OFFLINE="0", HF_DATASETS_OFFLINE="0", HF_HOME=str(folder / "hub"),
        DARWIN_MRI_GUARD=str(attempts),
    )  # fmt: skip
    return done, attempts.read_text(encoding="utf-8").splitlines() if attempts.is_file() else []


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_not_here_is_refused_without_an_attempt(name: str, tmp_path: Path) -> None:
    words, told = COMMANDS[name]
    done, attempts = run(words, tmp_path, "--offline")
    text = done.stderr.decode()
    assert not attempts
    assert done.returncode == 1, text
    assert text.splitlines()[-1].startswith(told) and "Traceback" not in text
    assert "give " in text.splitlines()[-1]


def test_without_it_the_hub_is_asked(tmp_path: Path) -> None:
    done, attempts = run(["scan", HUB], tmp_path)
    assert done.returncode == 1 and attempts and all(line.startswith("huggingface.co by ") for line in attempts)


def test_with_it_what_is_here_is_read(tmp_path: Path) -> None:
    parents = ["--father", "nursery:gemma4-korean", "--mother", "nursery:gemma4-reasoning"]
    done, attempts = run(["plan", *parents], tmp_path, "--offline")
    assert done.returncode == 0 and not attempts, done.stderr.decode()
