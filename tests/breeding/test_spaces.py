"""Genome spaces cover the tensors they name, once each."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.breeding import make_space
from darwin_mri.checkpoints import ModelSource, find_anatomy, load_model
from tests.toys import pico_gemma4


def test_layers_space_owns_every_parameter_once(tmp_path: Path) -> None:
    model = load_model(ModelSource("m", pico_gemma4(tmp_path / "m"), None), device="cpu", dtype="float32")
    anatomy = find_anatomy(model)
    names = [name for name, _ in model.named_parameters()]
    space = make_space("layers", anatomy, names)
    owned = [tensor for gene in space.genes for tensor in gene.tensors]
    assert sorted(owned) == sorted(names)
    depth = len(anatomy.layers)
    assert [g.name for g in space.genes][:2] == ["L0.ffn", "L0.mixer"] and space.genes[-1].name == "outside"
    assert len(space.genes) == 2 * depth + 1


def test_ffn_space_owns_ffn_matrices_only(tmp_path: Path) -> None:
    model = load_model(ModelSource("m", pico_gemma4(tmp_path / "m"), None), device="cpu", dtype="float32")
    anatomy = find_anatomy(model)
    space = make_space("ffn", anatomy, [name for name, _ in model.named_parameters()])
    assert [gene.name for gene in space.genes] == [f"L{i}.ffn" for i in range(len(anatomy.layers))]
    assert all(".mlp." in tensor for gene in space.genes for tensor in gene.tensors)
    assert all(len(gene.tensors) == 3 for gene in space.genes)
    assert space.ffn_ratios({"L1.ffn": 0.3}, len(anatomy.layers))[:2] == (0.0, 0.3)
