"""One pico father and mother of real families, loaded once."""

from __future__ import annotations

import pytest

from darwin_mri.checkpoints import LoadedModel, ModelSource, load
from darwin_mri.probes import Probe, TokenizedProbes, tokenize_probes
from tests.toys import pico_gemma4, pico_qwen35

WORDS = [
    "one two three four five six",
    "seven eight nine ten eleven",
    "a cat sat on a mat today",
    "red green blue and white",
]


def probes() -> tuple[Probe, ...]:
    """Twelve texts in two 'languages' and two domains: four documents in both languages, four in one."""
    rows = []
    for i, text in enumerate(WORDS):
        rows.append(Probe(text, "en", "prose", f"p{i}", f"p{i}"))
        rows.append(Probe(text.upper() + " !", "ko", "prose", f"p{i}", f"p{i}"))
        rows.append(Probe(text[::-1], "en", "math", f"m{i}"))
    return tuple(rows)


def tokenized(parent: LoadedModel) -> TokenizedProbes:
    """The probes above in the parent's tokens."""
    return tokenize_probes(probes(), parent.tokenizer, max_tokens=64, device="cpu")


@pytest.fixture(scope="session")
def father(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = pico_gemma4(tmp_path_factory.mktemp("models") / "father")
    return load(ModelSource("father", folder, None), "0" * 64, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def mother(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = pico_qwen35(tmp_path_factory.mktemp("models") / "mother")
    return load(ModelSource("mother", folder, None), "1" * 64, device="cpu", dtype="float32")
