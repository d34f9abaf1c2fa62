"""New model folders: what safetensors and transformers read back, and what an error leaves behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from darwin_mri.checkpoints import CheckpointReader, find_model, load_model, verify_folder, writing
from darwin_mri.checkpoints.atomic_folder import NOTE
from darwin_mri.checkpoints.writing import write_folder
from darwin_mri.errors import InputError
from tests.toys import pico_llama

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool)


def forms(content: dict[str, torch.Tensor]) -> dict[str, writing.Form]:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in content.items()}


def some(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 5), (), (7,), (0, 4), (2, 3, 4), (9, 1)]
    return {
        f"t{at}": (4 * torch.randn(shape, generator=generator)).to(DTYPES[(at + seed) % len(DTYPES)])
        for at, shape in enumerate(shapes)
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), shard=st.sampled_from([1, 60, 130, 10**6]))
def test_tensors_come_back_in_any_number_of_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, shard: int
) -> None:
    monkeypatch.setattr(writing, "SHARD", shard)
    content, asked = some(seed), []
    out = tmp_path / f"{seed}-{shard}"

    def compute(name: str) -> torch.Tensor:
        asked.append(name)
        return content[name]

    digests = write_folder(out, forms(content), compute, {"config.json": {"a": 1}}, note={"why": "test"})
    assert sorted(asked) == sorted(content)
    read = {name: tensor for file in digests for name, tensor in load_file(out / file).items()}
    assert read.keys() == content.keys() and all(torch.equal(read[name], content[name]) for name in content)
    assert [read[name].dtype for name in content] == [tensor.dtype for tensor in content.values()]
    assert digests == {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in digests}
    with CheckpointReader(out) as reader:  # goes by the index
        assert reader.names() == tuple(sorted(content)) and set(reader.shards()) == set(digests)
        assert all(torch.equal(reader.tensor(name), content[name]) for name in content)
    assert (set(digests) == {"model.safetensors"}) == (len(digests) == 1)
    assert len(digests) > 3 if shard == 1 else len(digests) == 1 or shard < 10**6
    assert json.loads((out / NOTE).read_text()) == {"schema": 1, "why": "test", "shards": digests}


def test_transformers_loads_a_folder_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "SHARD", 40_000)
    model = pico_llama(tmp_path / "model")
    with CheckpointReader(model) as reader:
        content = {name: (reader.dtype(name), reader.shape(name)) for name in reader.names()}
        files = {name: model / name for name in writing.other_files(model, reader.shards())}
        write_folder(tmp_path / "copy", content, reader.tensor, files, note={})
    verify_folder(tmp_path / "copy")
    first, second = (load_model(find_model(str(folder)), device="cpu") for folder in (model, tmp_path / "copy"))
    again = second.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.state_dict().items())
    with safe_open(next((tmp_path / "copy").glob("*.safetensors")), "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(2), r"tensor 'x' came as \(2,\) torch.float32 where the folder has \(3,\) torch.float32"),
        (torch.ones(3).half(), r"tensor 'x' came as \(3,\) torch.float16"),
        (torch.tensor([1.0, float("nan"), 0.0]), "tensor 'x' of the child has NaN or infinite values"),
    ],
)
def test_a_tensor_that_does_not_fit_leaves_nothing_behind(tmp_path: Path, tensor: torch.Tensor, said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_folder(tmp_path / "a" / "out", {"x": (torch.float32, (3,))}, lambda _: tensor, {}, note={})
    assert not list(tmp_path.iterdir())


def test_a_note_that_is_no_json_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written as JSON"):
        write_folder(tmp_path / "out", {}, lambda _: torch.ones(1), {}, note={"x": float("nan")})
    assert not list(tmp_path.iterdir())
