"""Genome spaces cover the tensors they name, once each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from darwin_mri.breeding import make_space
from darwin_mri.checkpoints import ModelSource, find_anatomy, find_model, load, load_model
from darwin_mri.config import make_config
from darwin_mri.problem.space import sibling_space
from tests.toys import pico, pico_gemma4


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


FOUR: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2}


def test_experts_router_and_shared_experts_have_genes_of_their_own(tmp_path: Path) -> None:
    folders = [pico("qwen2_moe", tmp_path / f"{seed}", seed=seed, **FOUR) for seed in (1, 2)]
    father, mother = find_model(str(folders[0])), find_model(str(folders[1]))
    resident = load(father, device="cpu", dtype="float32")
    data = {"father": str(folders[0]), "mother": str(folders[1]), "method": "linear"}
    spaces = {
        name: sibling_space(make_config({**data, "search": {"space": name}}, "test"), resident, (mother,), None)
        for name in ("layers", "ffn")
    }
    depth = len(resident.layers)
    parts = ("experts", "mixer", "router", "shared")
    genes = {gene.name: gene for gene in spaces["layers"].space.genes}
    assert list(genes) == [*(f"L{index}.{part}" for index in range(depth) for part in parts), "outside"]
    # Stored one by one: a gene holds three matrices of each of the four experts, by their names on disk.
    on_disk = [spaces["layers"].merge.on_disk(name) for name in genes["L2.experts"].tensors]
    assert len(set(on_disk)) == 12 and all(".layers.2.mlp.experts." in name for name in on_disk)
    assert [name.rpartition("mlp.")[2] for name in genes["L2.router"].tensors] == ["gate.weight"]
    assert {name.split(".")[4] for name in genes["L2.shared"].tensors} == {"shared_expert", "shared_expert_gate"}
    owned = [name for gene in genes.values() for name in gene.tensors]
    assert len(owned) == len(set(owned)) == len(spaces["layers"].merge.father.disk_names)
    ffn = spaces["ffn"].space
    assert [gene.name for gene in ffn.genes] == [f"L{i}.{part}" for i in range(depth) for part in ("experts", "shared")]
    assert ffn.ffn_ratios({"L1.experts": 0.3, "L1.shared": 0.7}, depth) == (0.0, 0.3, 0.0, 0.0)


def test_stacked_experts_are_one_gene_with_their_biases(tmp_path: Path) -> None:
    model = load_model(ModelSource("m", pico("gpt_oss", tmp_path / "m"), None), device="cpu", dtype="float32")
    space = make_space("layers", find_anatomy(model), [name for name, _ in model.named_parameters()])
    genes = {gene.name: [name.rpartition("mlp.")[2] for name in gene.tensors] for gene in space.genes}
    assert genes["L0.experts"] == [
        f"experts.{name}" for name in ("down_proj", "down_proj_bias", "gate_up_proj", "gate_up_proj_bias")
    ]
    assert genes["L0.router"] == ["router.bias", "router.weight"] and "L0.shared" not in genes
