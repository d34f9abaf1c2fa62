"""A child is accepted where its father is: transformers' text and image classes, with the processor files of a wrapped father."""

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
    """A wrapped father with processor files, as he comes from the hub, and his child with other FFNs."""
    root = tmp_path_factory.mktemp(request.param)
    father = WRAPPED[request.param](root / "father", wrapped=True, max_shard_size="60KB", dtype="bfloat16")
    for name in PROCESSOR:
        (father / name).write_text(json.dumps({"made_for": request.param}), encoding="utf-8")
    with CheckpointReader(father) as reader:
        ffn = [name for name in reader.names() if "language_model" in name and ".mlp." in name]
        write_child(father, root / "child", ffn, lambda name: reader.tensor(name) * 1.5, note={})
    return father, root / "child"


@pytest.mark.parametrize("auto", ["AutoModelForCausalLM", "AutoModelForImageTextToText"])
def test_it_loads_whole_by_every_class_that_loads_the_father(generation: tuple[Path, Path], auto: str) -> None:
    father, child = generation
    loaded = []
    with quiet():
        for folder in (father, child):
            model, report = getattr(transformers, auto).from_pretrained(folder, output_loading_info=True)
            loaded.append((model.eval(), report))
    (ours, mine), (theirs, his) = loaded[1], loaded[0]
    assert type(ours) is type(theirs) and not mine["missing_keys"] and mine == his
    ids = torch.arange(12)[None]
    with torch.no_grad():
        before, after = (model(input_ids=ids).logits for model, _ in loaded)
    assert after.isfinite().all() and not torch.equal(before, after)


def test_what_reads_images_is_the_fathers(generation: tuple[Path, Path]) -> None:
    """Processor files byte for byte, and every tensor of the towers; reading a picture takes pillow, which is not needed here."""
    father, child = generation
    for name in (*PROCESSOR, "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (child / name).read_bytes() == (father / name).read_bytes()
    with CheckpointReader(father) as ours, CheckpointReader(child) as theirs:
        towers = [name for name in ours.names() if "vision" in name or "visual" in name]
        assert towers and all(torch.equal(ours.tensor(name), theirs.tensor(name)) for name in towers)
