"""Towers of vision-language parents: merged on disk at the mean ratio of the text, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open

from darwin_mri import pipeline
from darwin_mri.checkpoints import find_model, load
from darwin_mri.config import Config, make_config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Candidate
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.questions import ask_method
from darwin_mri.problem.requests import MergeRequest
from darwin_mri.problem.space import MergeSpace, sibling_space
from darwin_mri.records import Genome
from darwin_mri.stages.merge import merge_genome
from tests import toys
from tests.family import small


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    with safe_open(file, "pt") as reader:
        return {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118


def pair(pico: Any, folder: Path, wrapped: tuple[bool, bool] = (True, True), **changes: Any) -> Config:
    folders = [
        pico(folder / f"{seed}", seed=seed, dtype="bfloat16", wrapped=inside) for seed, inside in enumerate(wrapped, 1)
    ]
    data = {"father": str(folders[0]), "mother": str(folders[1]), "method": "linear", "towers": "merge", **changes}
    return make_config(data, "test")


def merged(config: Config, genes: dict[str, float], space: MergeSpace, out: Path) -> dict[str, torch.Tensor]:
    genome = Genome(
        space=space.genome.name,
        method=config.method,
        seed=1,
        father=config.father,
        mother=config.mother,
        genes=space.written_genes(genes),
        ratios=(),
        **space.genome_fields(config, genes),
    )
    merge_genome(MergeRequest(genome, config), Parents.find(config, device="cpu", offline=True), out)
    return tensors_of(out)


@pytest.mark.parametrize("pico", [toys.pico_gemma4, toys.pico_qwen35])
def test_the_childs_tower_is_the_interpolation_at_the_mean_ratio(pico: Any, tmp_path: Path) -> None:
    config = pair(pico, tmp_path)
    father, mother = (find_model(ref) for ref in (config.father, config.mother))
    resident = load(father, device="cpu", dtype="bfloat16")
    space = sibling_space(config, resident, (mother,), None)
    genes = {gene.name: 0.1 + 0.02 * number for number, gene in enumerate(space.space.genes)}
    ratio = sum(genes.values()) / len(genes)
    # The model in memory gets the text alone, whether or not it has the tower.
    before = {name: tensor.clone() for name, tensor in resident.model.state_dict().items()}
    Candidate(resident.model, space.tensors(), space.merge).apply(genes)
    changed = {name for name, tensor in resident.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed and not [name for name in changed if "vis" in name]
    child = merged(config, genes, space, tmp_path / "child")
    own, theirs = tensors_of(father.folder), tensors_of(mother.folder)
    tower = [name for name in own if "vis" in name and own[name].is_floating_point()]
    assert len(tower) > 10 and set(tower) <= set(space.tower)
    for name in space.tower:
        wanted = own[name].float() + ratio * (theirs[name].float() - own[name].float())
        assert torch.equal(child[name], wanted.to(own[name].dtype)), name
    loaded = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "child", dtype="bfloat16")
    assert [type(loaded).__name__] == loaded.config.architectures
    state = loaded.state_dict()
    assert any("vis" in name for name in state)
    # Without towers: merge they stay the father's.
    plain = config.model_copy(update={"towers": "father"})
    kept = merged(
        plain,
        genes,
        sibling_space(plain, load(father, device="cpu", dtype="bfloat16"), (mother,), None),
        tmp_path / "kept",
    )
    assert all(torch.equal(kept[name], own[name]) for name in space.tower)


def test_a_run_merges_the_tower_and_its_genome_gives_the_child_again(tmp_path: Path) -> None:
    folders = {
        name: toys.pico_gemma4(tmp_path / name, seed=seed, dtype="bfloat16", wrapped=True)
        for seed, name in enumerate(("father", "sister", "base"))
    }
    config = small(folders, towers="merge", search={"space": "darwin14"}, prior={"preset": "flat"})
    result = pipeline.breed(config, tmp_path / "run", force=True, offline=True)
    genome = Genome.load(tmp_path / "run" / "genome.json")
    assert genome == result.genome and genome.tensors["tower"]
    pipeline.merge(config, genome, tmp_path / "again", offline=True)
    bred, again, father = (
        tensors_of(path) for path in (tmp_path / "run" / "child", tmp_path / "again", folders["father"])
    )
    assert all(torch.equal(bred[name], again[name]) for name in father)
    moved = [name for name in genome.tensors["tower"] if not torch.equal(bred[name], father[name])]
    assert bool(moved) == (genome.genes["tower"] != 0.0)


@pytest.mark.parametrize(
    ("wrapped", "words"),
    [((False, False), "the father has no tensors beside its text model"), ((True, False), "mother has no ")],
)
def test_parents_without_towers_are_refused(wrapped: tuple[bool, bool], words: str, tmp_path: Path) -> None:
    config = pair(toys.pico_gemma4, tmp_path, wrapped)
    with pytest.raises(InputError, match=words) as refused:
        ask_method(Parents.find(config, device="cpu", offline=True))
    assert "\n" not in str(refused.value)


def test_towers_of_other_shapes_are_refused(tmp_path: Path) -> None:
    config = pair(toys.pico_qwen35, tmp_path)
    mother: Any = transformers.AutoModelForImageTextToText.from_pretrained(config.mother)
    mother.config.vision_config.intermediate_size = 40
    torch.manual_seed(3)
    wider = transformers.AutoModelForImageTextToText.from_config(mother.config)
    wider.to(torch.bfloat16).save_pretrained(config.mother)
    with pytest.raises(InputError, match="the father as BF16"):
        ask_method(Parents.find(config, device="cpu", offline=True))


def test_an_arm_has_no_towers_to_merge() -> None:
    with pytest.raises(ConfigError, match="set towers to father"):
        make_config({"father": "a", "mother": "b", "method": "raw", "towers": "merge"}, "test")
