"""A child is the father's folder with the changed bytes, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from darwin_mri.checkpoints.atomic_folder import NOTE, require_space
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import CheckpointError, DarwinError, InputError
from darwin_mri.merging import Settings, blend, write_child
from tests.merging.folders import save_folder, tensors

HALF = Settings(density=0.5)
CHANGED = ("layers.0.up", "layers.1.up", "scalar")


@pytest.fixture
def father(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "father", tensors(0), 2)


def blended(father: Path, mother: dict[str, torch.Tensor], method: str = "linear") -> Callable[[str], torch.Tensor]:
    """name -> the merged tensor, read lazily from the father's folder."""

    def compute(name: str) -> torch.Tensor:
        with CheckpointReader(father) as reader:
            own = reader.tensor(name)
        return blend(method, (own, mother[name]), None, HALF, seed=1, name=name).child(0.3, own.dtype)

    return compute


def content(folder: Path) -> dict[str, torch.Tensor]:
    with CheckpointReader(folder) as reader:
        return {name: reader.tensor(name).clone() for name in reader.names()}


def untouched(parent: Path) -> list[str]:
    """What lies in the folder, hidden files included."""
    return sorted(path.name for path in parent.iterdir())


@pytest.mark.parametrize("method", ["linear", "dare_linear"])
@pytest.mark.parametrize("shards", [1, 2, 5])
def test_child_equals_the_merge_in_memory(tmp_path: Path, shards: int, method: str) -> None:
    """In every shard layout the same values, all else the father's byte for byte."""
    father = save_folder(tmp_path / "father", tensors(0), shards)
    mother = tensors(1)
    written: list[str] = []
    files = write_child(
        father, tmp_path / "child", CHANGED, blended(father, mother, method), note={}, on_tensor=written.append
    )
    expected = tensors(0) | {
        name: blend(method, (tensors(0)[name].float(), mother[name].float()), None, HALF, seed=1, name=name)
        .child(0.3)
        .bfloat16()
        for name in CHANGED
    }
    child = content(tmp_path / "child")
    assert child.keys() == expected.keys()
    assert all(torch.equal(child[name], expected[name]) for name in child)
    assert sorted(written) == sorted(CHANGED)
    assert set(files.changed) == {name for name in CHANGED if not torch.equal(expected[name], tensors(0)[name])}
    assert files.tensors == len(expected)
    for shard, digest in files.shards.items():
        assert hashlib.sha256((tmp_path / "child" / shard).read_bytes()).hexdigest() == digest
        assert (tmp_path / "child" / shard).stat().st_size == (father / shard).stat().st_size
        assert load_file(tmp_path / "child" / shard)


def test_ratio_zero_changes_nothing(father: Path, tmp_path: Path) -> None:
    with CheckpointReader(father) as reader:
        files = write_child(father, tmp_path / "child", reader.names(), reader.tensor, note={})
    assert files.changed == ()
    for shard in files.shards:
        assert (tmp_path / "child" / shard).read_bytes() == (father / shard).read_bytes()


def test_other_files_are_copied_byte_for_byte_and_code_is_not(father: Path, tmp_path: Path) -> None:
    copied = ["LICENSE", "generation_config.json", "processor_config.json", "tokenizer.json", "tokenizer.model"]
    refused = ["README.md", "modeling_x.py", "optimizer.pt", "pytorch_model.bin", "state.pkl", "tokenizer_x.py", NOTE]
    refused += ["other.safetensors", "tokenizer.json.bin"]
    for name in copied + refused:
        (father / name).write_bytes(b"bytes of " + name.encode())
    (father / "LICENSES").mkdir()
    (father / "additional_chat_templates").mkdir()
    (father / "additional_chat_templates" / "tools.jinja").write_text("{{ tools }}")
    write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    files = {p.relative_to(tmp_path / "child").as_posix() for p in (tmp_path / "child").rglob("*") if p.is_file()}
    weights = {f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    others = {*copied, "config.json", "chat_template.jinja", "model.safetensors.index.json"}
    others.add("additional_chat_templates/tools.jinja")
    assert files == weights | others | {NOTE}
    for name in others:
        assert (tmp_path / "child" / name).read_bytes() == (father / name).read_bytes()


def test_note_and_genealogy(father: Path, tmp_path: Path) -> None:
    note = {"genealogy": ["gemma4-base", "gemma4-korean"], "genome": {"r": 0.5}}
    files = write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note=note)
    saved = json.loads((tmp_path / "child" / NOTE).read_text())
    assert files.genealogy == ("gemma4-base", "gemma4-korean")
    assert saved["genome"] == {"r": 0.5}
    assert saved["shards"] == files.shards
    assert str(tmp_path) not in (tmp_path / "child" / NOTE).read_text()
    with pytest.raises(InputError, match="JSON"):
        write_child(father, tmp_path / "other", CHANGED, blended(father, tensors(1)), note={"x": float("nan")})


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_interrupt_leaves_nothing(father: Path, tmp_path: Path, error: type[BaseException]) -> None:
    def stop_late(name: str) -> torch.Tensor:
        if name == "layers.1.up":
            raise error
        return tensors(1)[name]

    before = untouched(tmp_path)
    with pytest.raises(error):
        write_child(father, tmp_path / "child", CHANGED, stop_late, note={})
    assert untouched(tmp_path) == before


def test_interrupt_keeps_the_earlier_child(father: Path, tmp_path: Path) -> None:
    def stop(name: str) -> torch.Tensor:
        raise KeyboardInterrupt

    first = write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    before = untouched(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_child(father, tmp_path / "child", CHANGED, stop, note={})
    assert untouched(tmp_path) == before
    again = write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    assert again == first
    other = write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(2)), note={})
    assert other.shards != first.shards
    assert untouched(tmp_path) == before


def test_leftovers_of_a_killed_run_are_cleared(father: Path, tmp_path: Path) -> None:
    dead = tmp_path / ".child.partial-4194999"  # above the largest process number Linux gives
    (dead / "x").mkdir(parents=True)
    write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    assert untouched(tmp_path) == ["child", "father"]


def test_occupied_out_is_refused(father: Path, tmp_path: Path) -> None:
    compute = blended(father, tensors(1))
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    write_child(father, occupied, CHANGED, compute, note={})  # an empty folder is free
    shutil.rmtree(occupied)
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        write_child(father, occupied, CHANGED, compute, note={})
    with pytest.raises(InputError, match="not a folder"):
        write_child(father, occupied / "thesis.txt", CHANGED, compute, note={})
    (father / NOTE).write_text("{}")  # the father may be a child itself
    for out in (father, father / "child", tmp_path):
        with pytest.raises(InputError, match="overlaps"):
            write_child(father, out, CHANGED, compute, note={})
    assert (occupied / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_is_refused(father: Path, tmp_path: Path, bad: float) -> None:
    def spoil(name: str) -> torch.Tensor:
        value = tensors(1)[name].clone()
        value.view(-1)[-1] = bad
        return value

    with pytest.raises(InputError, match=r"tensor 'layers\.0\.up' of the child has NaN or infinite"):
        write_child(father, tmp_path / "child", ["layers.0.up"], spoil, note={})
    assert untouched(tmp_path) == ["father"]


def test_large_finite_values_are_not_mistaken_for_infinite(father: Path, tmp_path: Path) -> None:
    largest = torch.full((10, 6), 3e38).bfloat16()  # their sum overflows fp32
    write_child(father, tmp_path / "child", ["layers.0.up"], lambda name: largest, note={})
    assert torch.equal(content(tmp_path / "child")["layers.0.up"], largest)


def test_other_shape_dtype_or_name_is_refused(father: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'norm' came as .*float32"):
        write_child(father, tmp_path / "child", ["norm"], lambda name: tensors(1)[name].float(), note={})
    with pytest.raises(InputError, match=r"'norm' came as \(4,\)"):
        write_child(father, tmp_path / "child", ["norm"], lambda name: tensors(1)[name][1:], note={})
    with pytest.raises(CheckpointError, match="no tensor 'lm_head'"):
        write_child(father, tmp_path / "child", ["lm_head"], blended(father, tensors(1)), note={})
    assert untouched(tmp_path) == ["father"]


def test_links_that_leave_the_father_are_refused(father: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("private")
    (father / "tokenizer.json").symlink_to(secret)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json leads outside"):
        write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    assert untouched(tmp_path) == ["father", "secret"]


def test_truncated_father_is_refused(father: Path, tmp_path: Path) -> None:
    shard = father / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="model-00001-of-00002.safetensors"):
        write_child(father, tmp_path / "child", CHANGED, blended(father, tensors(1)), note={})
    assert untouched(tmp_path) == ["father"]


def test_too_small_a_disk_is_named_with_its_missing_bytes(tmp_path: Path) -> None:
    require_space(tmp_path, 0)
    with pytest.raises(DarwinError, match=r"[\d,]+ of 1,000,000,000,000,000,000 bytes are missing"):
        require_space(tmp_path, 10**18)
