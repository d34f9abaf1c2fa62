"""Each parameter finds its own tensor on disk, and never a vision tower's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from darwin_mri.checkpoints import CheckpointReader, disk_names, find_model, load_model
from darwin_mri.errors import CheckpointError
from tests import toys

EXPERTS = re.compile(r"\.(experts|block_sparse_moe|mlp\.gate)\.")
PARTS = ("input_layernorm.weight", "self_attn.q_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight")


def _decoder(prefix: str, layers: int = 2) -> list[str]:
    ends = [f"{prefix}embed_tokens.weight", f"{prefix}norm.weight"]
    return ends + [f"{prefix}layers.{index}.{part}" for index in range(layers) for part in PARTS]


@pytest.mark.parametrize("pico", [toys.pico_gemma4, toys.pico_qwen35])
@pytest.mark.parametrize("wrapped", [False, True])
def test_named_tensors_are_the_parameters(pico, wrapped: bool, tmp_path: Path) -> None:
    source = find_model(str(pico(tmp_path / "pico", wrapped=wrapped, max_shard_size="60KB")))
    state = load_model(source, device="cpu").state_dict()
    with CheckpointReader(source.folder) as reader:
        names = disk_names(state, reader.names())
        assert set(state) - set(names) == {"lm_head.weight"}
        for memory, disk in names.items():
            assert torch.equal(reader.tensor(disk), state[memory]), memory


@pytest.mark.parametrize("family", toys.FAMILIES)
def test_every_parameter_of_every_family_is_named(family: str, tmp_path: Path) -> None:
    source = find_model(str(toys.pico(family, tmp_path / family)))
    # Experts are fused in memory: they have no single tensor on disk, and are never blended.
    parameters = [name for name, _ in load_model(source, device="cpu").named_parameters() if not EXPERTS.search(name)]
    assert parameters
    with CheckpointReader(source.folder) as reader:
        # GPT-NeoX's head is `lm_head` in memory and `embed_out` on disk: it counts as a head that may be absent.
        heads = {"lm_head.weight"} if family == "gpt_neox" else set()
        assert set(parameters) - set(disk_names(parameters, reader.names())) == heads


@pytest.mark.parametrize(
    ("memory", "disk"),
    [
        ("model.", "model."),
        ("model.", "model.language_model."),
        ("model.", "language_model.model."),
        ("model.language_model.", "language_model.model."),
        ("model.language_model.", "model."),
        ("model.", ""),
        ("", "model."),
    ],
)
def test_prefixes_are_discovered(memory: str, disk: str) -> None:
    towers = _decoder("model.vision_tower.encoder.", layers=5) + _decoder("mtp.") + _decoder("model.audio_tower.")
    parameters = _decoder(memory)
    assert disk_names(parameters, towers + _decoder(disk)) == dict(zip(parameters, _decoder(disk), strict=True))
    # A few names are enough: the FFNs alone are not taken for the tower's.
    few = [name for name in parameters if "mlp" in name]
    assert disk_names(few, towers + _decoder(disk)) == {name: disk + name.removeprefix(memory) for name in few}


def test_heads_beside_the_decoder() -> None:
    parameters = [*_decoder("model."), "lm_head.weight"]
    disk = _decoder("language_model.model.")
    assert "lm_head.weight" not in disk_names(parameters, disk)
    head = "language_model.lm_head.weight"
    assert disk_names(parameters, [*disk, head])["lm_head.weight"] == head
    with pytest.raises(CheckpointError, match="lm_head.weight"):
        disk_names(parameters, disk, tied=())


def test_a_missing_tensor_is_not_replaced_by_another() -> None:
    lost = "model.language_model.layers.1.mlp.up_proj.weight"
    disk = [name for name in _decoder("model.language_model.") if name != lost] + _decoder("model.draft.", layers=1)
    disk += _decoder("model.vision_tower.encoder.")
    with pytest.raises(CheckpointError, match=r"1 parameters are not in the weight files .*layers.1.mlp.up_proj"):
        disk_names(_decoder("model."), disk)


def test_two_decoders_are_ambiguous() -> None:
    with pytest.raises(CheckpointError, match="cannot tell which"):
        disk_names(_decoder("model."), _decoder("model.teacher.") + _decoder("model.student."))
