"""One pico father and mother of real families, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from darwin_mri.checkpoints import ModelSource
from darwin_mri.config import ScanConfig
from darwin_mri.mri import Parent
from darwin_mri.probes import Probe
from darwin_mri.stages.parents import Loaded, load, parent_for_scan
from tests.toys import pico_gemma4, pico_qwen35

WORDS = [
    "one two three four five six",
    "seven eight nine ten eleven",
    "a cat sat on a mat today",
    "red green blue and white",
]


def probes() -> tuple[Probe, ...]:
    """Eight documents in two 'languages' and two domains, four of them parallel."""
    rows = []
    for i, text in enumerate(WORDS):
        rows.append(Probe(text, "en", "prose", f"p{i}", f"p{i}"))
        rows.append(Probe(text.upper() + " !", "ko", "prose", f"p{i}", f"p{i}"))
        rows.append(Probe(text[::-1], "en", "math", f"m{i}"))
    return tuple(rows)


def as_parent(loaded: Loaded, **config: int) -> Parent:
    return parent_for_scan(loaded, probes(), ScanConfig(**config))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def father(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder: Path = pico_gemma4(tmp_path_factory.mktemp("models") / "father")
    return load(ModelSource("father", folder, None), "0" * 64, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def mother(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder: Path = pico_qwen35(tmp_path_factory.mktemp("models") / "mother")
    return load(ModelSource("mother", folder, None), "1" * 64, device="cpu", dtype="float32")
