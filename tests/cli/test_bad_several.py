"""Several parents that cannot be bred: one line that says what to do, and nothing left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import AddedToken

from tests.commands import call
from tests.family import small
from tests.merging.vocabularies import FRENCH, bpe, model_with
from tests.pipeline.test_several_parents import adapter_of
from tests.toys import pico, pico_gemma4

SIBLINGS = ("father", "mother", "third", "base")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three siblings, their base, and models that do not fit them."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(SIBLINGS):
        pico_gemma4(root / name, seed=seed, dtype="bfloat16")
    pico_gemma4(root / "wide", seed=9, dtype="bfloat16", hidden_size=40)
    for seed, (name, count) in enumerate((("moe1", 2), ("moe2", 2), ("moe3", 3))):
        pico("qwen3_moe", root / name, seed=seed, num_experts=count)
    adapter_of(root / "wide", root / "adapter")
    stripping = AddedToken("<a>", lstrip=True, special=True)
    tokenizers = {
        "plain": bpe(added=["<a>"]),
        "french": bpe(FRENCH, added=["<a>"]),
        "flags": bpe(added=["<b>", stripping]),
    }
    for name, tokenizer in tokenizers.items():
        model_with(tokenizer, root / name, padding=320 - len(tokenizer))
    (root / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00" + bytes(12))
    return root


def tell(
    folder: Path,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    command: str = "breed",
) -> tuple[int, str]:
    """(exit code, the one line) of a command that must refuse a config; asserts that nothing was written."""
    family = {"father": folder / "father", "sister": folder / "mother", "base": folder / "base"}
    data = small(family).model_dump(mode="json", exclude={"father", "mother", "parents", "base"}, exclude_none=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**data, **config}), encoding="utf-8")
    out = ["--out", folder / "run"] if command == "breed" else []
    cache = Path(os.environ["DARWIN_MRI_CACHE"])
    before = {root: sorted(root.rglob("*")) for root in (folder, cache)}
    code, stdout, stderr = call(
        capfd, monkeypatch, command, "--config", folder / "config.yaml", *out, "--offline", "--quiet"
    )
    lines = stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("darwin-mri: "), stderr
    assert not stdout or command == "plan"
    after = {root: sorted(root.rglob("*")) for root in before}
    assert after == before, lines
    return code, lines[0]


WRONG: list[tuple[list[str], dict[str, Any], str]] = [
    (["father"], {}, "parents names 1 model: list two to eight, the father first"),
    (["father"] * 9, {}, "parents names 9 models: list two to eight, the father first"),
    (["father", "mother", "third"], {"search": {"space": "darwin14"}}, "darwin14 is for two parents"),
    (
        ["father", "mother", "third"],
        {"method": "folded", "search": {"space": "ffn"}},
        "crosses the father with one other parent, not with 2",
    ),
]
UNFIT: list[tuple[list[str], dict[str, Any], Sequence[str]]] = [
    (
        ["father", "mother", "third"],
        {"method": "slerp"},
        ["slerp: merges the father with one other parent, not with 2"],
    ),
    (["father", "mother", "wide"], {}, ["wide has hidden_size 40, the father 32"]),
    (["father", "mother", "father+adapter"], {}, ["adapter", "father has"]),
    (["father", "mother", "cut.gguf"], {}, ["cut.gguf is cut short or damaged", "fetch it again"]),
    (["moe1", "moe2", "moe3"], {"method": "linear"}, ["moe3 has 3 experts in layer 1, the father 2 experts"]),
    (["plain", "plain", "french"], {"method": "linear"}, ["french", "other ids than the father's"]),
    (["plain", "plain", "flags"], {"method": "linear", "tokenizer": "union"}, ["contradict each other", "'<a>'"]),
]


def refs(folder: Path, parents: Sequence[str]) -> list[str]:
    return ["+".join(str(folder / part) for part in parent.split("+")) for parent in parents]


@pytest.fixture
def folder(models: Path, tmp_path: Path) -> Path:
    return shutil.copytree(models, tmp_path / "models")


@pytest.mark.parametrize(("parents", "changes", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_config_that_names_them_wrong_is_usage(
    folder: Path, parents: list[str], changes: dict[str, Any], message: str,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = {"parents": refs(folder, parents), "base": str(folder / "base"), **changes}
    code, line = tell(folder, config, monkeypatch, capfd)
    assert code == 2 and message in line, line


@pytest.mark.parametrize(("parents", "changes", "words"), UNFIT, ids=lambda value: str(value)[:40])
def test_models_that_do_not_fit_are_refused(
    folder: Path, parents: list[str], changes: dict[str, Any], words: Sequence[str],
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base = {} if changes.get("method") else {"base": str(folder / "base")}
    code, line = tell(folder, {"parents": refs(folder, parents), **base, **changes}, monkeypatch, capfd)
    assert code == 1 and all(word in line for word in words), line
