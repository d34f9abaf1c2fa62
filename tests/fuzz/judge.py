"""What must hold of every command on every input: no traceback, no hang, no half-written child, nothing elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.sandbox import Outcome

CODES = (0, 1, 2, 3)
WRITTEN = ("out", "run", "cache", "home", "tmp", "stdout", "stderr", "answer.json", "answer.body", "fault")
LEFTOVERS = ("tmp",)  # folders that a command must leave as empty as they were


def look(folder: Path) -> dict[str, tuple[int, int]]:
    """Every input of the folder with size and time of change, without what a command may write."""
    out = {}
    for root, names, files in os.walk(folder):
        if Path(root) == folder:
            names[:] = [name for name in names if name not in WRITTEN]
            files = [name for name in files if name not in WRITTEN]
        for name in files + names:
            state = os.lstat(os.path.join(root, name))
            out[os.path.join(root, name)] = (state.st_size, state.st_mtime_ns if name in files else 0)
    return out


def judge(outcome: Outcome, words: tuple[str, ...], folder: Path, before: dict[str, tuple[int, int]]) -> str:
    """What is wrong.

    Args:
        outcome: of the command.
        words: its command line.
        folder: of the case.
        before: its inputs as ``look`` saw them.

    Returns:
        A line; empty where nothing is wrong.
    """
    return "; ".join(_faults(outcome, words, folder, before))


def _faults(
    outcome: Outcome, words: tuple[str, ...], folder: Path, before: dict[str, tuple[int, int]]
) -> Iterator[str]:
    if outcome.hung:
        yield "hang"
        return
    if outcome.code not in CODES:
        yield f"exit code {outcome.code}"
    if "Traceback (most recent call last)" in outcome.err + outcome.out:
        yield f"traceback: {outcome.err.strip().splitlines()[-1][:200]}"
    elif outcome.code == 1 and words[0] != "plan" and _lines(outcome.err) == 0:
        yield "no message"
    elif outcome.code == 1 and _lines(outcome.err) > 1:
        yield f"{_lines(outcome.err)} lines of messages"
    after = look(folder)
    changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    if changed:
        yield f"changed outside of its output: {sorted(changed)[:3]}"
    for name in LEFTOVERS:
        if left := sorted(os.listdir(folder / name)):
            yield f"left behind in {name}: {left[:3]}"
    yield from _child_faults(outcome, folder)


def _lines(text: str) -> int:
    """Lines of messages that are an error's own."""
    return sum(line.startswith("darwin-mri:") for line in text.splitlines())


def _child_faults(outcome: Outcome, folder: Path) -> Iterator[str]:
    """A child that is whole, or none."""
    for place in (folder / "out", folder / "run"):
        if not place.is_dir():
            continue
        for child in place.glob("*child*"):
            if child.name.startswith(".") or child.name.endswith((".tmp", ".partial")):
                yield f"half-written {child.name}"
            elif child.is_dir() and child.name == "child":
                yield from _broken(child)
                if place.name == "out" and outcome.code in (1, 2):
                    yield "a child in spite of the failure"


def _broken(child: Path) -> Iterator[str]:
    from safetensors import safe_open

    try:
        index = child / "model.safetensors.index.json"
        names = json.loads(index.read_text())["weight_map"] if index.exists() else {}
        for shard in sorted(set(names.values())) or [path.name for path in child.glob("*.safetensors")]:
            with safe_open(child / shard, "np") as reader:
                if missing := {name for name, at in names.items() if at == shard} - set(reader.keys()):
                    yield f"the child's {shard} lacks {sorted(missing)[:2]}"
    except Exception as error:  # whatever it is, the child cannot be read
        yield f"the child cannot be read: {str(error)[:100]}"
