"""Where memory is short a scan goes on in smaller batches, and reports when even that is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.errors import DarwinError
from darwin_mri.problem.parents import Parents
from darwin_mri.records import Scan
from darwin_mri.run import Silent, open_run
from darwin_mri.stages.scan import scan_parents
from tests.family import small


@contextmanager
def too_little_for(model: Any, tokens: int) -> Iterator[None]:
    """While open, a forward over more than ``tokens`` tokens asks the real allocator for more than any machine has."""

    def ask(_: Any, args: tuple[Any, ...]) -> None:
        if args[0].numel() > tokens:
            torch.empty(2**60, dtype=torch.uint8)

    handle = model.get_input_embeddings().register_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()


class Recorded(Silent):
    """Keeps the lines a run reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def scan_father(family: dict[str, Path], out: Path, fits: int | None = None) -> tuple[Scan, list[str]]:
    """The father's scan, with memory for forwards of ``fits`` tokens, and what was reported."""
    config, progress = small(family), Recorded()
    parents = Parents.find(config, roles=("father",))
    run = open_run(out, config, (), "cpu", progress=progress)
    with too_little_for(parents.father.model, fits) if fits else nullcontext():
        return scan_parents(run, parents).father, progress.lines


def test_a_scan_halves_batches_that_do_not_fit(family: dict[str, Path], tmp_path: Path) -> None:
    whole, _ = scan_father(family, tmp_path / "whole")
    halved, lines = scan_father(family, tmp_path / "halved", fits=100)
    assert len(lines) > 1 and "tokens at a time" in lines[0]
    for layer, expected in zip(halved.layers, whole.layers, strict=True):
        for domain, estimate in expected.importance.items():
            assert layer.importance[domain].value == pytest.approx(estimate.value, abs=1e-5)
        assert layer.activation["f"]["all"]["rms"] == pytest.approx(expected.activation["f"]["all"]["rms"], rel=1e-5)


def test_one_text_that_does_not_fit_is_one_clear_line(family: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DarwinError, match=r"lower scan\.max_tokens"):
        scan_father(family, tmp_path / "run", fits=8)
