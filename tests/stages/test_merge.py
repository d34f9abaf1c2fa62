"""From a genome to a child without a search: ratios 0 and 1, layouts that must not matter, donors kept or rebuilt."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from darwin_mri.checkpoints import LoadedModel
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import ARMS, OPERATORS, Config, make_config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Candidate
from darwin_mri.pipeline import merge
from darwin_mri.problem.donors import DONORS, run_donors
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.recipes import genome_config, read_genome
from darwin_mri.problem.space import MergeSpace, donor_space
from darwin_mri.records import DonorRecord, Genome
from darwin_mri.run import open_run
from tests.merging.pairs import loaded
from tests.toys import pico, pico_gemma4, pico_qwen35


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("family")
    sizes = ("60KB", "1GB", "40KB")
    return {
        role: pico_gemma4(root / role, seed=seed, dtype="bfloat16", max_shard_size=size)
        for seed, (role, size) in enumerate(zip(("father", "mother", "base"), sizes, strict=True))
    }


def genome_of(family: dict[str, Path], method: str, ratio: float, **changes: Any) -> Genome:
    names = tuple(survey(family["father"]).layout.text_tensors.values())
    data = {
        "space": "layers",
        "method": method,
        "seed": 5,
        **{role: str(family[role]) for role in ("father", "mother", "base")},
        "genes": {"all": ratio},
        "ratios": (),
        "tensors": {"all": names},
        "settings": {"density": 0.6, "density_father": 0.8},
    }
    return Genome(**{**data, **changes})


def write(genome: Genome, out: Path, **overrides: Any) -> Path:
    """Write the genome's child into ``out``; ``overrides`` replace fields of its config."""
    merge(genome_config(genome, "test", **overrides), genome, out)
    return out


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    with CheckpointReader(folder) as reader:
        return {name: reader.tensor(name) for name in reader.names()}


@pytest.mark.parametrize("method", OPERATORS)
def test_ratio_zero_gives_the_fathers_bytes(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    folder = write(genome_of(family, method, 0.0), tmp_path / "child")
    for shard in family["father"].glob("*.safetensors"):
        assert (folder / shard.name).read_bytes() == shard.read_bytes()


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_ratio_one_gives_the_mothers_bytes(family: dict[str, Path], tmp_path: Path, method: str) -> None:
    child = tensors_of(write(genome_of(family, method, 1.0), tmp_path / "child"))
    mother = tensors_of(family["mother"])
    for name in tuple(survey(family["father"]).layout.text_tensors.values()):
        assert torch.equal(child[name].view(torch.uint8), mother[name].view(torch.uint8)), name


def test_a_tied_mothers_embedding_serves_as_its_head_too(tmp_path: Path) -> None:
    """At ratio 1 an untied father's child has the mother's head, though the mother's files hold none of their own."""
    parents = {
        "father": pico("llama", tmp_path / "father", tie_word_embeddings=False),
        "mother": pico("llama", tmp_path / "mother", seed=1, tie_word_embeddings=True),
    }
    recipe = tmp_path / "r.yaml"
    models = [{"model": str(folder), "parameters": {"weight": w}} for w, folder in enumerate(parents.values())]
    recipe.write_text(json.dumps({"merge_method": "linear", "models": models}), encoding="utf-8")
    read = read_genome(recipe, 1, True)
    merge(genome_config(read.genome, "test", **read.refs), read.genome, tmp_path / "child")
    child, mother = tensors_of(tmp_path / "child"), tensors_of(parents["mother"])
    assert "lm_head.weight" not in mother
    assert torch.equal(child["lm_head.weight"], mother["model.embed_tokens.weight"])
    assert all(torch.equal(child[name], mother[name]) for name in mother)


def test_a_weighted_father_moves_where_the_mother_weighs_nothing(family: dict[str, Path], tmp_path: Path) -> None:
    """base + w (father - base) where the mother's weight is 0."""
    genome = genome_of(family, "task_arithmetic", 0.0, settings={"weight_father": 0.5})
    folders = write(genome, tmp_path / "half"), family["father"], family["base"]
    child, father, base = (tensors_of(folder) for folder in folders)
    for name in genome.tensors["all"]:
        expected = base[name].float() + 0.5 * (father[name].float() - base[name].float())
        assert torch.allclose(child[name].float(), expected, rtol=2**-8, atol=1e-6), name


def test_no_parent_is_overwritten(family: dict[str, Path], tmp_path: Path) -> None:
    mother = shutil.copytree(family["mother"], tmp_path / "mother")
    (mother / "darwin_mri.json").write_text("{}", encoding="utf-8")  # as an earlier child has
    before = {path.name: path.read_bytes() for path in mother.iterdir()}
    with pytest.raises(InputError, match="overlaps the folder of a parent"):
        write(genome_of(family, "linear", 0.5, mother=str(mother)), mother)
    assert {path.name: path.read_bytes() for path in mother.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"densty": 0.3}}, "setting 'densty' is unknown"),
        ({"genes": {"all": 0.5, "L0": 0.5}}, "gene L0, which names no tensors"),
        ({"exceptions": {"*.nothing": {"ratio": 0.1}}}, "fits no tensor"),
        ({"settings": {"weight_father": "abc"}}, "weight_father 'abc' must be a finite number"),
    ],
)
def test_parts_of_a_genome_that_change_nothing_are_refused(
    family: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((InputError, ConfigError), match=re.escape(message)):
        write(genome_of(family, "linear", 0.5, **changes), tmp_path / "child")
    assert not list(tmp_path.iterdir())


def test_a_child_names_its_parents(family: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(family["mother"], tmp_path / "other")
    genome = genome_of(family, "linear", 0.5)
    merge(genome_config(genome, "test", mother=str(other)), genome, tmp_path / "child")
    note = json.loads((tmp_path / "child" / "darwin_mri.json").read_text(encoding="utf-8"))
    assert note["genome"]["mother"].endswith("other") and note["genealogy"][-1].endswith("other (linear)")


def test_causal_masks_stored_beside_weights_do_not_matter(family: dict[str, Path], tmp_path: Path) -> None:
    """Older checkpoints keep causal masks and positions beside their weights; the father's stay."""
    folders = {}
    for role in ("father", "mother"):
        folders[role] = shutil.copytree(family[role], tmp_path / role)
        extra = {"model.layers.0.self_attn.bias": torch.ones(4, 4, dtype=torch.bool)}
        _add(folders[role], extra)
    names = tuple(survey(family["father"]).layout.text_tensors.values())
    genome = genome_of({**family, **folders}, "linear", 1.0, tensors={"all": names}, base=None)
    assert tensors_of(write(genome, tmp_path / "child"))["model.layers.0.self_attn.bias"].dtype == torch.bool


def _add(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Store these tensors beside the others, all in one file."""
    content = tensors_of(folder) | tensors
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    save_file(content, folder / "model.safetensors", metadata={"format": "pt"})


def reshuffled(folder: Path, out: Path, order: list[int], shards: int) -> Path:
    """The same model with its tensors in another order, over other shards."""
    out.mkdir()
    content = tensors_of(folder)
    names = [sorted(content)[i] for i in order]
    weight_map = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        save_file({n: content[n] for n in names if weight_map[n] == shard}, out / shard, metadata={"format": "pt"})
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((folder / name).read_bytes())
    return out


@given(seed=st.integers(0, 10_000), shards=st.integers(1, 5), method=st.sampled_from(OPERATORS))
@settings(max_examples=6)
def test_shards_and_tensor_order_change_nothing(
    family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, seed: int, shards: int, method: str
) -> None:
    root = tmp_path_factory.mktemp("orders")
    genome = genome_of(family, method, 0.7)
    plain = tensors_of(write(genome, root / "plain"))
    count = len(survey(family["father"]).tensors)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    mixed = {role: reshuffled(folder, root / role, order, shards) for role, folder in family.items()}
    child = tensors_of(write(genome, root / "mixed", **{role: str(folder) for role, folder in mixed.items()}))
    assert child.keys() == plain.keys() and all(torch.equal(child[name], plain[name]) for name in plain)


def test_a_wrapped_mother_fits_a_text_only_father(tmp_path: Path) -> None:
    """Prefixes on disk may differ; the text model is the same."""
    family = {
        "father": pico_qwen35(tmp_path / "f", seed=0, dtype="bfloat16"),
        "base": pico_qwen35(tmp_path / "b", seed=2, dtype="bfloat16"),
        "mother": pico_qwen35(tmp_path / "m", seed=1, wrapped=True, dtype="bfloat16"),
    }
    child = tensors_of(write(genome_of(family, "linear", 1.0), tmp_path / "child"))
    mother, name = tensors_of(family["mother"]), "layers.1.mlp.up_proj.weight"
    assert torch.equal(child[f"model.{name}"], mother[f"model.language_model.{name}"])


def test_a_head_stored_beside_its_tied_embedding_follows_it(family: dict[str, Path], tmp_path: Path) -> None:
    folders = {}
    for seed, role in enumerate(("father", "mother")):
        folders[role] = pico("gemma4_text", tmp_path / role, seed=seed, dtype="bfloat16")
        content = load_file(folders[role] / "model.safetensors")
        content["lm_head.weight"] = content["model.embed_tokens.weight"].clone()
        save_file(content, folders[role] / "model.safetensors", metadata={"format": "pt"})
    genome = genome_of({**folders, "base": folders["father"]}, "linear", 0.5, base=None)
    child = tensors_of(write(genome, tmp_path / "child"))
    assert torch.equal(child["lm_head.weight"], child["model.embed_tokens.weight"])
    assert not torch.equal(child["lm_head.weight"], tensors_of(folders["father"])["lm_head.weight"])


def test_genes_without_a_list_of_tensors_go_by_the_father(family: dict[str, Path], tmp_path: Path) -> None:
    genome = genome_of(family, "linear", 0.0, tensors={}, genes={"L1.ffn": 0.5})
    files = merge(genome_config(genome, "test"), genome, tmp_path / "child")
    assert files.changed and all("layers.1.mlp." in name for name in files.changed)
    wrong = genome.model_copy(update={"genes": {"L9.ffn": 0.5}})
    with pytest.raises(InputError, match=r"gene L9\.ffn"):
        merge(genome_config(wrong, "test"), wrong, tmp_path / "other")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedModel, LoadedModel]:
    root = tmp_path_factory.mktemp("pair")
    father = loaded(pico_gemma4(root / "father", dtype="bfloat16"))
    return father, loaded(pico_qwen35(root / "mother", seed=1, dtype="bfloat16"))


def crossed(
    pair: tuple[LoadedModel, LoadedModel], arm: str, out: Path, *, resume: bool = False
) -> tuple[MergeSpace, Genome]:
    """A run's donors of an arm, and a genome that moves every layer."""
    father, mother = pair
    config = make_config(
        {
            "father": str(father.source.folder),
            "mother": str(mother.source.folder),
            "method": arm,
            "device": "cpu",
            "scan": {"languages": ["en"]},
            "arm": {"documents": 6, "max_tokens": 32, "writer": "nobody"},
        },
        "test",
    )
    run = open_run(out, config, (), "cpu", resume=resume)
    record = run_donors(run, Parents.find(config), (0, 1, 2, 3), (1.0,) * 4)
    space = donor_space(config, father, run.path(DONORS), record, (1.0,) * 4)
    genome = Genome(
        space="ffn",
        method=arm,
        seed=1,
        father="father",
        mother="mother",
        genes=dict.fromkeys(space.tensors(), 0.4),
        ratios=(),
        layer_map=(0, 1, 2, 3),
        **space.genome_fields(config, {}),
    )
    return space, genome


def config_of(genome: Genome, pair: tuple[LoadedModel, LoadedModel]) -> Config:
    """The config that builds the genome's child from this pair."""
    father, mother = (str(parent.source.folder) for parent in pair)
    return genome_config(genome, "test", father=father, mother=mother, device="cpu")


@pytest.mark.parametrize("arm", ARMS)
def test_a_cross_child_in_memory_on_disk_and_rebuilt(
    pair: tuple[LoadedModel, LoadedModel], tmp_path: Path, arm: str
) -> None:
    father, _ = pair
    space, genome = crossed(pair, arm, tmp_path / "run")
    candidate = Candidate(father.model, space.tensors(), space.merge)
    candidate.apply(dict.fromkeys(genome.genes, 1.0))  # an earlier candidate must leave no trace
    candidate.apply(genome.genes)
    tokens = torch.arange(24).reshape(2, 12)
    with torch.inference_mode():
        in_memory = father.model(tokens).logits
    candidate.restore()
    config = config_of(genome, pair)
    kept = merge(config, genome, tmp_path / "kept", donors=tmp_path / "run" / "state" / "donors")
    assert kept.changed and all(".mlp." in name for name in kept.changed)
    child: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "kept", dtype=torch.float32)
    with torch.inference_mode():
        assert torch.equal(child(tokens).logits, in_memory)
    assert merge(config, genome, tmp_path / "again").shards == kept.shards
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "kept", "run"]
    assert DonorRecord.load(tmp_path / "run" / "donors.json").arm == arm


def test_kept_donors_are_verified_and_used_again(pair: tuple[LoadedModel, LoadedModel], tmp_path: Path) -> None:
    _, genome = crossed(pair, "folded", tmp_path / "run")
    folder = tmp_path / "run" / "state" / "donors"
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    crossed(pair, "folded", tmp_path / "run", resume=True)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    first = sorted(folder.iterdir())[0]
    first.write_bytes(first.read_bytes()[:-1] + b"\x01")
    config = config_of(genome, pair)
    with pytest.raises(InputError, match="donors kept in donors are not those this genome was found with"):
        merge(config, genome, tmp_path / "child", donors=folder)
    crossed(pair, "folded", tmp_path / "run", resume=True)  # a damaged file is built again
    merge(config, genome, tmp_path / "child", donors=folder)
    with pytest.raises(InputError, match=r"nowhere is not a folder: give a run's state/donors"):
        merge(config, genome, tmp_path / "child", donors=tmp_path / "nowhere")
    other = genome.model_copy(update={"donors": dict.fromkeys(genome.donors, "0" * 64)})
    with pytest.raises(InputError, match=r"built again from the parents.*--donors"):
        merge(config, other, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_map": (0, 1, 2, -1)}, "the genome maps 4 father layers"),
        ({"gate_rms": (1.0, 1.0)}, "gate_rms must give each of the mother's 4 layers"),
        ({"gate_rms": (1.0, 1.0, 1.0, -1.0)}, "gate_rms must give each of the mother's 4 layers"),
    ],
)
def test_lists_of_a_genome_that_fit_no_parent_are_refused(
    pair: tuple[LoadedModel, LoadedModel], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    _, genome = crossed(pair, "folded", tmp_path / "run")
    config = config_of(genome, pair)
    with pytest.raises(InputError, match=message):
        merge(config, genome.model_copy(update=changes), tmp_path / "child")
    assert not (tmp_path / "child").exists()


def test_a_negative_share_of_neurons_is_refused(pair: tuple[LoadedModel, LoadedModel], tmp_path: Path) -> None:
    _, genome = crossed(pair, "transplant", tmp_path / "run")
    config = config_of(genome, pair)
    below = genome.model_copy(update={"genes": dict.fromkeys(genome.genes, -0.2)})
    with pytest.raises(ConfigError, match="must be a number of at least 0"):
        merge(config, below, tmp_path / "child", donors=tmp_path / "run" / "state" / "donors")
    assert not (tmp_path / "child").exists()
