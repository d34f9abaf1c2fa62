"""Reading any shard layout lazily, and refusing what is missing, damaged or outside the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import CheckpointError
from tests.merging.folders import save_folder, tensors


@pytest.mark.parametrize("shards", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reads_every_layout(tmp_path: Path, shards: int, dtype: torch.dtype) -> None:
    content = tensors(0, dtype)
    folder = save_folder(tmp_path / "model", content, shards)
    with CheckpointReader(folder) as reader:
        assert reader.names() == tuple(sorted(content))
        assert len(reader.shards()) == shards
        for name, value in content.items():
            assert (reader.shape(name), reader.dtype(name)) == (tuple(value.shape), dtype)
            assert torch.equal(reader.tensor(name), value)
            shard, offset, length = reader.location(name)
            assert shard == reader.shard(name)
            raw = (folder / shard).read_bytes()[offset : offset + length]
            assert raw == value.reshape(-1).view(torch.uint8).numpy().tobytes()


def test_shards_without_an_index_are_read(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", tensors(0), 3)
    (folder / "model.safetensors.index.json").unlink()
    with CheckpointReader(folder) as reader:
        assert reader.names() == tuple(sorted(tensors(0)))


def test_writing_to_a_tensor_leaves_the_file(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", tensors(0))
    before = (folder / "model.safetensors").read_bytes()
    with CheckpointReader(folder) as reader:
        reader.tensor("norm").zero_()
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_truncated_shard_is_refused(tmp_path: Path, keep: int) -> None:
    folder = save_folder(tmp_path / "model", tensors(0), 2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="model-00002-of-00002.safetensors"):
        CheckpointReader(folder)


def test_damage_is_named(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", tensors(0), 2)
    index = folder / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(text.replace('"norm"', '"gone"'))
    with pytest.raises(CheckpointError, match="lacks tensor 'gone'"):
        CheckpointReader(folder)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="not a safetensors index"):
        CheckpointReader(folder)
    index.write_text(text.replace("model-00001-of-00002.safetensors", "pytorch_model.bin"))
    with pytest.raises(CheckpointError, match="not safetensors"):
        CheckpointReader(folder)
    index.write_text(text)
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model-00001-of-00002.safetensors is missing"):
        CheckpointReader(folder)


def test_damaged_header_is_refused(tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "model", {"norm": torch.zeros(4)})
    shard = folder / "model.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole.replace(b'"shape":[4]', b'"shape":[9]'))
    with pytest.raises(CheckpointError, match="tensor norm takes 16 bytes"):
        CheckpointReader(folder)
    shard.write_bytes(whole.replace(b'"F32"', b'"F99"'))
    with pytest.raises(CheckpointError, match="dtype 'F99'"):
        CheckpointReader(folder)
    shard.write_bytes(whole[:8] + b"x" + whole[9:])
    with pytest.raises(CheckpointError, match="its header is no JSON"):
        CheckpointReader(folder)


def test_one_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "y.safetensors")
    with pytest.raises(CheckpointError, match="'a' is in both x.safetensors and y.safetensors"):
        CheckpointReader(tmp_path)


def test_no_model_no_tensor(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a folder"):
        CheckpointReader(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds no safetensors"):
        CheckpointReader(tmp_path)
    reader = CheckpointReader(save_folder(tmp_path / "model", tensors(0)))
    with reader, pytest.raises(CheckpointError, match="no tensor 'nonsense'"):
        reader.tensor("nonsense")


def test_files_outside_the_folder_are_refused(tmp_path: Path) -> None:
    outside = save_folder(tmp_path / "outside", tensors(0))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(outside / "model.safetensors")
    with pytest.raises(CheckpointError, match="outside the model folder"):
        CheckpointReader(folder)
    (folder / "model.safetensors").unlink()
    for escape in ("../outside/model.safetensors", str(outside / "model.safetensors")):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"norm": escape}}))
        with pytest.raises(CheckpointError, match="outside the model folder"):
            CheckpointReader(folder)


def test_hub_cache_links_are_followed(tmp_path: Path) -> None:
    """huggingface_hub keeps files under blobs/ and links to them from snapshots/REVISION/."""
    model = tmp_path / "models--a--b"
    original = save_folder(tmp_path / "original", tensors(0))
    snapshot, blobs = model / "snapshots" / "abc", model / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(original.iterdir())):
        path.rename(blobs / str(number))
        os.symlink(f"../../blobs/{number}", snapshot / path.name)
    with CheckpointReader(snapshot) as reader:
        assert torch.equal(reader.tensor("norm"), tensors(0)["norm"])
