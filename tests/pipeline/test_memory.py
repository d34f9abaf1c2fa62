"""Where memory is short a scan goes on in smaller batches, and says so when even that cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from darwin_mri.checkpoints import find_model
from darwin_mri.errors import DarwinError
from darwin_mri.stages import parents
from darwin_mri.stages.run import Silent, open_run
from darwin_mri.stages.scanning import scan_one
from tests.pipeline.conftest import small


@contextmanager
def too_little_for(model: Any, tokens: int) -> Iterator[None]:
    """While open, a forward over more than ``tokens`` asks the real allocator for more than any machine has."""

    def ask(_: Any, args: tuple[Any, ...]) -> None:
        if args[0].numel() > tokens:
            torch.empty(2**60, dtype=torch.uint8)

    handle = model.get_input_embeddings().register_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()


class Listening(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_a_scan_halves_batches_that_do_not_fit(family: dict[str, Path], tmp_path: Path) -> None:
    config = small(family)
    father = parents.load(find_model(str(family["father"])), "", device="cpu", dtype="float32")
    whole = scan_one(open_run(tmp_path / "whole", config, (), "cpu"), father, Silent())
    progress = Listening()
    with too_little_for(father.model, 100):
        halved = scan_one(open_run(tmp_path / "halved", config, (), "cpu"), father, progress)
    assert len(progress.said) > 1 and "tokens at a time" in progress.said[0]
    for ours, theirs in zip(halved.layers, whole.layers, strict=True):
        for domain, estimate in theirs.importance.items():
            assert ours.importance[domain].value == pytest.approx(estimate.value, abs=1e-5)
        assert ours.activation["f"]["all"]["rms"] == pytest.approx(theirs.activation["f"]["all"]["rms"], rel=1e-5)


def test_a_text_that_does_not_fit_alone_is_one_clear_line(family: dict[str, Path], tmp_path: Path) -> None:
    father = parents.load(find_model(str(family["father"])), "", device="cpu", dtype="float32")
    with too_little_for(father.model, 8), pytest.raises(DarwinError, match=r"lower scan\.max_tokens"):
        scan_one(open_run(tmp_path / "run", small(family), (), "cpu"), father, Silent())
