"""Inputs of one kind, drawn by hypothesis from a seed, each read by one command."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from darwin_mri.children import end_with_parent
from tests.fuzz.judge import judge, look
from tests.fuzz.kinds import KINDS
from tests.fuzz.sandbox import attempt
from tests.fuzz.server import start_server


@dataclass
class Hunt:
    """What a number of inputs of one kind came to.

    Attributes:
        kind: of ``KINDS``.
        seed: of the draws.
        inputs: how many were read.
        codes: how often each exit code.
        slowest: seconds of the slowest.
        findings: (what is wrong, what was changed, command line).
    """

    kind: str
    seed: int
    inputs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    findings: list[tuple[str, str, str]] = field(default_factory=list)


def prepare() -> None:
    """In a worker: import what every command needs, so that its forks have it."""
    end_with_parent()
    for name in ("torch", "transformers", "darwin_mri.pipeline", "darwin_mri.cli", "lm_eval", "peft", "gguf", "pandas"):
        with suppress(ImportError):  # of an extra that is not installed: its inputs are refused for that
            importlib.import_module(name)
    transformers = importlib.import_module("transformers")
    for name in ("LlamaForCausalLM", "AutoTokenizer", "AutoModelForCausalLM"):
        getattr(transformers, name)


def hunt(kind: str, seed: int, inputs: int, folder: Path, limit: float, until: float) -> Hunt:
    """Read so many inputs of a kind.

    Args:
        kind: of ``KINDS``.
        seed: of the draws; the same seed and number of inputs give the same inputs.
        inputs: how many.
        folder: has the sound inputs in ``material``, and gets the cases with findings in ``findings``.
        limit: seconds after which a command hangs.
        until: time after which no more are read.

    Returns:
        What came of it.
    """
    out = Hunt(kind, seed)
    material, case = folder / "material", folder / f"worker-{os.getpid()}" / "case"

    @hypothesis.seed(seed)
    @settings(
        max_examples=inputs, database=None, deadline=None, phases=[Phase.generate], derandomize=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip
    @hypothesis.given(st.data())
    def read(data: Any) -> None:
        _read_one(out, data.draw, material, case, limit, until)

    if time.time() < until:
        read()
    return out


def _read_one(out: Hunt, draw: Any, material: Path, case: Path, limit: float, until: float) -> None:
    kind = KINDS[out.kind]
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(material, case)
    for name in ("home", "cache", "tmp"):
        (case / name).mkdir()
    note = kind.change(draw, case)
    words = tuple(_address(word, case) for word in draw(st.sampled_from(kind.commands)))
    if time.time() > until:
        return  # drawn all the same: hypothesis must see each input alike
    before = look(case)
    outcome = attempt(words, case, limit, partial(kind.check, case) if kind.check else None)
    fault = judge(outcome, words, case, before)
    if (case / "fault").exists():
        fault = "; ".join(filter(None, (fault, (case / "fault").read_text(encoding="utf-8"))))
    out.inputs += 1
    out.codes[outcome.code] += 1
    out.slowest = max(out.slowest, outcome.seconds)
    if fault:
        out.findings.append((fault, note, " ".join(words)))
        kept = case.parent.parent / "findings" / f"{out.kind}-{out.seed}-{out.inputs}"
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        case.rename(kept)
        (kept / "what.txt").write_text(
            f"{fault}\n{note}\ndarwin-mri {' '.join(words)}\n", encoding="utf-8", errors="replace"
        )


_servers: dict[tuple[int, Path], str] = {}


def _address(word: str, case: Path) -> str:
    """A word of a command line, with this worker's server where it names one."""
    if word != "URL":
        return word
    where = (os.getpid(), case)
    if where not in _servers:
        _servers[where] = start_server(case)
    return _servers[where]
