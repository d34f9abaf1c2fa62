"""Damaged or unfit parents: one clear line, exit code 1, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from tests.commands import call
from tests.toys import pico_gemma4, pico_qwen35

UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    for seed, role in enumerate(("father", "mother")):
        pico_gemma4(root / role, seed=seed, dtype="bfloat16", max_shard_size="60KB")
    pico_gemma4(root / "wide", seed=3, dtype="bfloat16", hidden_size=40)
    pico_gemma4(
        root / "deep",
        seed=3,
        dtype="bfloat16",
        num_hidden_layers=6,
        layer_types=["sliding_attention", "full_attention"] * 3,
    )
    pico_qwen35(root / "stranger", seed=4, dtype="bfloat16")
    return root


def shard_of(folder: Path, name: str = UP) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][name]


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], name: str = UP) -> None:
    path = shard_of(folder, name)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def cut(folder: Path) -> None:
    path = shard_of(folder)
    path.write_bytes(path.read_bytes()[:-10])


def huge_header(folder: Path) -> None:
    path = shard_of(folder)
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def not_a_number(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors[UP].view(-1)[3:4].fill_(float("nan")))


def integers(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({UP: tensors[UP].to(torch.int16)}))


def unknown_dtype(folder: Path) -> None:
    path = shard_of(folder)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"BF16"', b'"BF17"', 1))


def lacking(folder: Path) -> None:
    path = shard_of(folder)
    tensors = load_file(path)
    del tensors[UP]
    save_file(tensors, path, metadata={"format": "pt"})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    del index["weight_map"][UP]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def listed_only(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop(UP))


def more(folder: Path) -> None:
    path, name = shard_of(folder), "model.layers.1.mlp.extra.weight"
    tensors = load_file(path)
    tensors[name] = tensors[UP].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][name] = path.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def other_shape(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.update({UP: tensors[UP][:40].clone()}))


def no_special_token(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<bos>"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def half_tokenizer(folder: Path) -> None:
    whole = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(whole[: len(whole) // 2])


def leaving_link(folder: Path) -> None:
    path = shard_of(folder)
    outside = folder.parent / "outside.safetensors"
    shutil.move(path, outside)
    path.symlink_to(outside)


def leaving_index(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"][UP] = "../outside.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def missing_shard(folder: Path) -> None:
    shard_of(folder).unlink()


def pickled(folder: Path) -> None:
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save({UP: torch.zeros(2)}, folder / "pytorch_model.bin")


BOTH = [
    (cut, "is cut short"),
    (huge_header, "header cannot fit"),
    (unknown_dtype, "unknown dtype 'BF17'"),
    (listed_only, "holds model"),
    (leaving_link, "link that leaves"),
    (leaving_index, "outside the folder"),
    (missing_shard, "not there"),
    (pickled, "only pickled weights"),
    (half_tokenizer, "tokenizer.json cannot be read as JSON"),
]
MOTHERS = [
    (not_a_number, f"tensor '{UP}' of the child has NaN"),
    (integers, f"{UP} is I16"),
    (lacking, "lacks 1 of the model's weights (first: model.layers.1.mlp.up_proj.weight)"),
    (other_shape, "has shape (40, 32) where config.json asks for (48, 32)"),
]


@pytest.mark.parametrize(
    ("change", "words"),
    [(more, "transformers does not know them (first: model.layers.1.mlp.extra.weight)"), (no_special_token, "'<bos>'")],
)
def test_what_has_no_part_is_told_and_merged_without(
    originals: Path, tmp_path: Path, change: Callable[[Path], None], words: str,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("father", "mother"):
        shutil.copytree(originals / name, tmp_path / name)
    change(tmp_path / "mother")
    code, _, stderr = call(capfd, monkeypatch, *merge_words(tmp_path)[:-1])
    assert code == 0 and words in " ".join(stderr.split())


def merge_words(
    folder: Path, father: str = "father", mother: str = "mother", method: str = "linear"
) -> list[str | Path]:
    recipe = {
        "merge_method": method,
        "models": [
            {"model": str(folder / role), "parameters": {"weight": w}} for role, w in ((father, 0.7), (mother, 0.3))
        ],
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return ["merge", "--mergekit", folder / "recipe.yaml", "--out", folder / "child", "--offline", "--quiet"]


def refused(
    words: list[str | Path], folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The one line an unfit input gets; asserts that nothing else happened."""
    before = sorted(path.name for path in folder.iterdir())
    code, stdout, stderr = call(capfd, monkeypatch, *words)
    lines = stderr.strip().splitlines()
    assert code == 1 and not stdout and len(lines) == 1 and lines[0].startswith("darwin-mri: "), (code, stdout, stderr)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert "Traceback" not in stderr
    return lines[0]


@pytest.mark.parametrize(
    ("role", "damage", "message"),
    [("father", *case) for case in BOTH] + [("mother", *case) for case in [*BOTH, *MOTHERS]],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_damaged_folders_are_refused_in_one_line(
    originals: Path,
    tmp_path: Path,
    role: str,
    damage: Callable[[Path], None],
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("father", "mother"):
        shutil.copytree(originals / name, tmp_path / name)
    damage(tmp_path / role)
    assert message in refused(merge_words(tmp_path), tmp_path, capfd, monkeypatch)


def test_nan_in_a_tensor_that_no_gene_moves_is_refused(
    originals: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for role in ("father", "mother"):
        shutil.copytree(originals / role, tmp_path / role)
    rewrite(tmp_path / "father", lambda t: t["model.norm.weight"].view(-1)[:1].fill_(float("nan")), "model.norm.weight")
    genome = {
        "space": "layers",
        "method": "linear",
        "seed": 1,
        "father": str(tmp_path / "father"),
        "mother": str(tmp_path / "mother"),
        "genes": {"g": 0.5},
        "ratios": [],
        "tensors": {"g": [UP]},
    }
    (tmp_path / "genome.json").write_text(json.dumps(genome))
    words = ["merge", "--genome", tmp_path / "genome.json", "--out", tmp_path / "child", "--quiet"]
    assert "the father's tensor 'model.norm.weight' has NaN" in refused(words, tmp_path, capfd, monkeypatch)


@pytest.mark.parametrize(
    ("mother", "message"),
    [
        ("wide", "hidden_size 40, the father 32"),
        ("deep", "num_hidden_layers 6, the father 4"),
        ("stranger", "use an arm"),
    ],
)
def test_unfit_mothers_are_refused_in_one_line(
    originals: Path,
    tmp_path: Path,
    mother: str,
    message: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for role in ("father", mother):
        shutil.copytree(originals / role, tmp_path / role)
    assert message in refused(merge_words(tmp_path, mother=mother), tmp_path, capfd, monkeypatch)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--genome"),
        (["--genome", "a", "--mergekit", "b"], "--mergekit"),
        (["--genome", "a", "--seed", "2", "--out", "x"], "--seed"),
        (["--mergekit", "none.yaml", "--out", "x"], "none.yaml"),
    ],
)
def test_wrong_usage_of_merge_is_exit_code_2(
    words: list[str],
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = call(capfd, monkeypatch, "merge", *words)
    assert code == 2 and not stdout and message in stderr and len(stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
