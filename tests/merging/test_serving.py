"""A child loads by the same transformers classes as its father, and keeps the processor files of a wrapped father."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from darwin_mri.checkpoints import CheckpointReader, quiet
from darwin_mri.merging import write_child
from tests.toys import pico_gemma4, pico_qwen35

WRAPPED = {"gemma4": pico_gemma4, "qwen3_5": pico_qwen35}
PROCESSOR = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "chat_template.jinja",
)


@pytest.fixture(scope="module", params=WRAPPED)
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wrapped father with processor files, as on the hub, and its child with other FFNs."""
    root = tmp_path_factory.mktemp(request.param)
    father = WRAPPED[request.param](root / "father", wrapped=True, max_shard_size="60KB", dtype="bfloat16")
    for name in PROCESSOR:
        (father / name).write_text(json.dumps({"model": request.param}), encoding="utf-8")
    with CheckpointReader(father) as reader:
        ffn = [name for name in reader.names() if "language_model" in name and ".mlp." in name]
        write_child(father, root / "child", ffn, lambda name: reader.tensor(name) * 1.5, note={})
    return father, root / "child"


@pytest.mark.parametrize("auto", ["AutoModelForCausalLM", "AutoModelForImageTextToText"])
def test_a_child_loads_by_every_class_that_loads_the_father(generation: tuple[Path, Path], auto: str) -> None:
    father, child = generation
    with quiet():
        (father_model, father_report), (child_model, child_report) = (
            getattr(transformers, auto).from_pretrained(folder, output_loading_info=True) for folder in (father, child)
        )
    assert type(child_model) is type(father_model)
    assert not child_report["missing_keys"] and child_report == father_report
    ids = torch.arange(12)[None]
    with torch.no_grad():
        before, after = (model.eval()(input_ids=ids).logits for model in (father_model, child_model))
    assert after.isfinite().all() and not torch.equal(before, after)


def test_processor_files_and_image_towers_are_the_fathers(generation: tuple[Path, Path]) -> None:
    """Byte for byte, and every tensor of the towers. No picture is read: that would take pillow."""
    father, child = generation
    for name in (*PROCESSOR, "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (child / name).read_bytes() == (father / name).read_bytes()
    with CheckpointReader(father) as father_files, CheckpointReader(child) as child_files:
        towers = [name for name in father_files.names() if "vision" in name or "visual" in name]
        assert towers and all(torch.equal(father_files.tensor(name), child_files.tensor(name)) for name in towers)
