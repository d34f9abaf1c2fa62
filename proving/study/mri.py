"""The MRI of two specialists, by the commands `scan` and `report`: the page of a real model."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from darwin_mri.benchmarks import sample_items
from darwin_mri.benchmarks.items import with_choices
from darwin_mri.children import end_with_parent
from darwin_mri.errors import DarwinError
from proving.recipes import RECIPES
from proving.specialists import ADAPTERS, base_file
from proving.study.plan import Plan
from proving.subjects import SUBJECTS

PAIR = ("villages", "cities")
QUESTIONS = 60  # of each specialist's task


def scan_pair(plan: Plan, out: Path, say: Callable[[str], None]) -> None:
    """Scan both and their pair; what is there already stays.

    Args:
        plan: how many documents of each domain are read.
        out: run folder of the scan.
        say: told the command.

    Raises:
        DarwinError: the command failed; its last line says why.
    """
    if (out / "report.html").is_file():  # written last
        return
    command = ["scan"]
    models = [f"{base_file()}+{ADAPTERS / name}" for name in PAIR]
    command += [models[0], "--against", models[1], "--base", base_file(), "--out", str(out), "--overwrite", "--quiet"]
    command += ["--documents", str(plan.documents), "--protect", "en", "--offline"]
    for name in PAIR:
        command += ["--task", f"{name}={write_task(name, out.parent / 'tasks')}"]
    say(f"MRI of {' and '.join(PAIR)}: {plan.documents} documents of each language and domain")
    began = time.perf_counter()
    for words in (command, ["report", str(out), "--quiet"]):
        _run(words)
    say(f"MRI: {time.perf_counter() - began:.0f} s")


def _run(words: Sequence[str]) -> None:
    """A command of darwin-mri, in a process that ends with this one."""
    with ProcessPoolExecutor(1, get_context("spawn"), end_with_parent) as pool:
        code = pool.submit(run_command, words).result()
    if code:
        raise DarwinError(f"darwin-mri {words[0]} ended with {code}")


def run_command(words: Sequence[str]) -> int:
    """A command of darwin-mri in this process: its exit code; errors go to stderr."""
    from darwin_mri.cli import main

    sys.argv = ["darwin-mri", *words]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def write_task(name: str, folder: Path) -> Path:
    """A specialist's questions as a file that every command takes with ``--task``."""
    folder.mkdir(parents=True, exist_ok=True)
    path, lines = folder / f"{name}.jsonl", []
    for item in with_choices(sample_items(SUBJECTS[RECIPES[name].subject].items(), QUESTIONS, 1)):
        own = {"id": item.key, "context": item.context, "choices": item.choices, "answer": item.choices[item.gold]}
        lines.append(json.dumps({**own, "cluster": item.cluster, "slice": item.slice}, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
