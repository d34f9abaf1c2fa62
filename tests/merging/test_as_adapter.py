"""A child as an adapter: peft loads it and gives the child back within the error that is stated."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.errors import InputError
from darwin_mri.merging.as_adapter import write_adapter
from tests.toys import pico, pico_llama

peft = pytest.importorskip("peft")


def child_of(base: Path, folder: Path, rank: int, *, norms: bool = False) -> Path:
    """A copy whose projections have changes of a rank, and, if asked, whose norms have changed."""
    folder.mkdir()
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    generator, tensors = torch.Generator().manual_seed(1), load_file(base / "model.safetensors")
    for name, value in tensors.items():
        if "_proj.weight" in name and "layers.1." in name or ".c_fc.weight" in name:
            left, right = (torch.randn(size, rank, generator=generator) for size in value.shape)
            tensors[name] = value + 0.1 * left @ right.T
        elif norms and "norm" in name:
            tensors[name] = value + 0.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_peft(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    model: Any = load_model(find_model(str(base)), device="cpu", dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(model, adapter).merge_and_unload().state_dict()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("norms", [False, True])
def test_a_rank_that_suffices_gives_the_child(family: str, norms: bool, tmp_path: Path) -> None:
    base = pico(family, tmp_path / "base")
    child = child_of(base, tmp_path / "child", 3, norms=norms)
    fit = write_adapter(base, child, tmp_path / "adapter", ref="base", rank=3)
    assert fit.total < 1e-5 and fit.errors and (bool(fit.whole) == norms or family == "gpt2")
    wanted = load_model(find_model(str(child)), device="cpu", dtype="float32").state_dict()
    ours = load_model(find_model(f"{base}+{tmp_path / 'adapter'}"), device="cpu", dtype="float32").state_dict()
    for found in (with_peft(base, tmp_path / "adapter"), ours):
        assert all((found[name] - value).abs().max() < 1e-5 for name, value in wanted.items())


def test_a_smaller_rank_costs_what_is_stated(tmp_path: Path) -> None:
    base = pico_llama(tmp_path / "base")
    child = child_of(base, tmp_path / "child", 8)
    fits = [write_adapter(base, child, tmp_path / f"adapter{rank}", ref="base", rank=rank) for rank in (2, 6, 99)]
    assert fits[0].total > fits[1].total > 0.05 and fits[2].total < 1e-5
    before, after = (load_file(folder / "model.safetensors") for folder in (base, child))
    found = with_peft(base, tmp_path / "adapter2")
    for name, error in fits[0].errors.items():
        left = (found[name] - after[name]).norm() / (after[name] - before[name]).norm()
        assert left == pytest.approx(error, rel=1e-3)
    assert f"{fits[0].total:.3g}" in fits[0].sentence


def test_an_embedding_that_the_head_shares_stays_shared(tmp_path: Path) -> None:
    base = pico("gemma3_text", tmp_path / "base", tie_word_embeddings=True)
    child = child_of(base, tmp_path / "child", 1)
    tensors = load_file(child / "model.safetensors")
    tensors["model.embed_tokens.weight"] += 1
    save_file(tensors, child / "model.safetensors", metadata={"format": "pt"})
    fit = write_adapter(base, child, tmp_path / "adapter", ref="base", rank=2)
    assert fit.whole == ("model.embed_tokens.weight",)
    wanted = load_model(find_model(str(child)), device="cpu", dtype="float32").state_dict()
    ours = load_model(find_model(f"{base}+{tmp_path / 'adapter'}"), device="cpu", dtype="float32").state_dict()
    for found in (with_peft(base, tmp_path / "adapter"), ours):
        assert all((found[name] - value).abs().max() < 1e-5 for name, value in wanted.items())


def test_the_base_itself_is_refused(tmp_path: Path) -> None:
    base = pico_llama(tmp_path / "base")
    with pytest.raises(InputError, match="is base itself"):
        write_adapter(base, base, tmp_path / "adapter", ref="base", rank=2)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
