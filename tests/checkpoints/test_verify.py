"""A damaged folder is refused in one line that names the file, before anything is loaded or written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from darwin_mri.checkpoints import (
    file_digests,
    find_model,
    read_header,
    verify,
    verify_folder,
    weight_files,
    weights_digest,
)
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import CheckpointError
from tests import toys

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.pico_llama(tmp_path_factory.mktemp("verify") / "whole")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.pico_llama(tmp_path_factory.mktemp("verify") / "sharded", max_shard_size="60KB")


def _edit_header(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / WEIGHTS
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def _edit_json(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _edit_tensor(folder: Path, **fields: object) -> None:
    _edit_header(folder, lambda header: header["model.norm.weight"].update(fields))


def _cut(folder: Path, size: int) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])


def _only_pickles(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def _overlap(header: dict) -> None:
    norms = [name for name in header if name.endswith("norm.weight")]
    header[norms[1]]["data_offsets"] = header[norms[0]]["data_offsets"]


def _link_out(folder: Path) -> None:
    secret = folder.parent / "secret.json"
    secret.write_text("{}")
    (folder / "extra.json").symlink_to(secret)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: shutil.rmtree(f), "no such folder"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "list for config": (lambda f: (f / "config.json").write_text("[]"), "config.json"),
    "no model type": (lambda f: (f / "config.json").write_text("{}"), "no model_type"),
    "unknown type": (lambda f: _edit_json(f / "config.json", model_type="hydra9"), "does not know model_type 'hydra9'"),
    "own code": (lambda f: _edit_json(f / "config.json", model_type="hydra9", auto_map={}), "own code is never run"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "no .safetensors weights"),
    "only pickles": (_only_pickles, "pickled weights, which are not read"),
    "renamed weights": (lambda f: (f / WEIGHTS).rename(f / "other.safetensors"), "neither"),
    "empty weights": (lambda f: _cut(f, 0), "its header cannot fit"),
    "cut header": (lambda f: _cut(f, 100), "its header cannot fit"),
    "cut data": (lambda f: _cut(f, (f / WEIGHTS).stat().st_size - 4), "cut short"),
    "stray bytes": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes() + b"x"), "stray bytes"),
    "absurd length": (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 64), "its header cannot fit"),
    "no json header": (lambda f: (f / WEIGHTS).write_bytes((8).to_bytes(8, "little") + b"notjson!"), "no JSON"),
    "list header": (lambda f: (f / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"[]"), "no JSON object"),
    "wrong shape": (lambda f: _edit_tensor(f, shape=[33]), "not its shape times its dtype"),
    "negative shape": (lambda f: _edit_tensor(f, shape=[-32]), "no proper shape"),
    "unknown dtype": (lambda f: _edit_tensor(f, dtype="F13"), "unknown dtype 'F13'"),
    "no offsets": (lambda f: _edit_tensor(f, data_offsets=None), "no proper shape or offsets"),
    "overlap": (lambda f: _edit_header(f, _overlap), "overlaps"),
    "hole": (lambda f: _edit_header(f, lambda header: header.pop("model.norm.weight")), "damaged|stray"),
    "offsets beyond": (lambda f: _edit_tensor(f, data_offsets=[10**12, 10**12 + 128]), "leaves a hole"),
    "link out": (_link_out, "extra.json is a link that leaves the folder"),
}

INDEX_DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken index": (lambda f: (f / INDEX).write_text("{"), INDEX),
    "no weight map": (lambda f: (f / INDEX).write_text("{}"), "no weight_map"),
    "missing shard": (lambda f: (f / weight_files(f)[0]).unlink(), "00001-of"),
    "no index": (lambda f: (f / INDEX).unlink(), "neither"),
    "outside": (lambda f: _edit_json(f / INDEX, weight_map={"a": "../a.safetensors"}), "path outside the folder"),
    "absolute": (lambda f: _edit_json(f / INDEX, weight_map={"a": "/a.safetensors"}), "path outside the folder"),
    "number": (lambda f: _edit_json(f / INDEX, weight_map={"a": 3}), "path outside the folder"),
    "pickle": (lambda f: _edit_json(f / INDEX, weight_map={"a": "a.bin"}), "only .safetensors"),
    "false promise": (lambda f: _edit_json(f / INDEX, weight_map={"ghost": weight_files(f)[0]}), "holds ghost"),
}


def _expect_refusal(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(CheckpointError, match=words) as caught:
        verify_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(folder.name)
    assert str(folder.parent) not in message
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_folder_is_refused(case: str, whole: Path, tmp_path: Path) -> None:
    _expect_refusal(Path(shutil.copytree(whole, tmp_path / "model")), *DAMAGE[case])


@pytest.mark.parametrize("case", INDEX_DAMAGE)
def test_damaged_index_is_refused(case: str, sharded: Path, tmp_path: Path) -> None:
    _expect_refusal(Path(shutil.copytree(sharded, tmp_path / "model")), *INDEX_DAMAGE[case])


def test_whole_folders_pass(whole: Path, sharded: Path) -> None:
    assert verify_folder(whole)["model_type"] == "llama"
    assert verify_folder(sharded)["model_type"] == "llama"
    assert weight_files(whole) == (WEIGHTS,)
    assert len(weight_files(sharded)) > 2
    assert "model.norm.weight" in read_header(whole / WEIGHTS)


def test_hub_cache_links_to_its_own_blobs_pass(whole: Path, tmp_path: Path) -> None:
    model = tmp_path / "models--someone--pico"
    blobs = Path(shutil.copytree(whole, model / "blobs"))
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)
    link = tmp_path / "linked"
    link.symlink_to(snapshot)
    for folder in (snapshot, link):
        assert verify_folder(folder)["model_type"] == "llama"
        source = find_model(str(folder))
        assert (source.ref, source.revision, source.folder) == ("someone/pico", "abc", folder)
    _link_out(snapshot)
    with pytest.raises(CheckpointError, match="leaves the folder"):
        verify_folder(snapshot)


def test_digests_cover_the_model_and_nothing_else(sharded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "model"))
    files = file_digests(folder)
    names = [file.name for file in files]
    assert names == sorted(names)
    assert {"config.json", "tokenizer.json", INDEX, *weight_files(folder)} <= set(names)
    for stray in ("README.md", ".hidden", "evil.py", "weights.bin"):
        (folder / stray).write_text("stray")
    assert file_digests(folder) == files
    digest = weights_digest(files)
    assert weights_digest(files[::-1]) == digest
    shard = folder / weight_files(folder)[0]
    raw = bytearray(shard.read_bytes())
    raw[-1] ^= 1
    shard.write_bytes(raw)
    assert weights_digest(file_digests(folder)) != digest


def test_sizes_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    folder = toys.pico_llama(tmp_path / "pico")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": "abc"}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="hidden_size 'abc' is no whole number"):
        survey(folder)


def test_a_file_rewritten_under_its_old_time_has_a_new_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "SETTLED", 0)  # as if the file had long been there
    folder = toys.pico_gemma4(tmp_path / "pico")
    file = folder / "model.safetensors"
    os.utime(file, (1e9, 1e9))
    before = {digest.name: digest.sha256 for digest in file_digests(folder)}
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    time.sleep(0.02)  # more than a file system's clock takes to move on
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, (1e9, 1e9))
    after = {digest.name: digest.sha256 for digest in file_digests(folder)}
    assert after[file.name] == hashlib.sha256(content).hexdigest() != before[file.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "whole weights and an adapter"),
        (
            lambda folder: _edit_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"}),
            r"quantization_config \(bitsandbytes\), but no weight is quantized",
        ),
        (
            lambda folder: _edit_json(folder / "config.json", text_config={"quantization_config": {"bits": 4}}),
            "has a quantization_config",
        ),
        (
            lambda folder: _edit_json(folder / "config.json", transformers_weights="other.safetensors"),
            "names its weights in transformers_weights",
        ),
    ],
)
def test_what_makes_one_folder_two_models_is_refused_by_name(
    whole: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "left"))
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        find_model(str(folder))
