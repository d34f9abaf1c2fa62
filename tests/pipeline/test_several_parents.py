"""The whole pipeline with several other parents: records, nulls, report, merge, resume, an adapter, other methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from darwin_mri import pipeline
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Genome, PairScan, Prior, Scan
from darwin_mri.records.roles import PARENTS, pair_file, scan_file
from tests.family import small
from tests.pipeline.test_breed import digests
from tests.toys import LAYERS, pico_gemma4

FOUR = PARENTS[:4]
TINY: dict[str, Any] = {"prior": {"preset": "flat"}, "search": {"budget": 3, "population": 2, "finalists": 1}}


@pytest.fixture(scope="module")
def siblings(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Role -> folder of four siblings and their base."""
    root = tmp_path_factory.mktemp("siblings")
    more = {role: pico_gemma4(root / role, seed=20 + i, dtype="bfloat16") for i, role in enumerate(FOUR[2:])}
    return {"father": family["father"], "mother": family["sister"], **more, "base": family["base"]}


def config_of(siblings: dict[str, Path], parents: Sequence[str | Path], **changes: Any) -> Config:
    """A config of these parents, the father first, with few items and texts."""
    refs = [str(parent) for parent in parents]
    family = {"father": refs[0], "sister": refs[1], "base": siblings["base"]}
    return small(family, parents=refs, **changes)  # type: ignore[arg-type]


def four_of(siblings: dict[str, Path]) -> Config:
    few: dict[str, Any] = {"scan": {"documents": 2}, "search": {"budget": 4, "population": 4, "finalists": 1}}
    return config_of(siblings, [siblings[role] for role in FOUR], **few)


@pytest.fixture(scope="module")
def run(siblings: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    pipeline.breed(four_of(siblings), out, force=True)
    return out


def test_every_parent_has_its_scan_its_pair_and_its_prior(run: Path) -> None:
    for role in FOUR:
        assert len(Scan.load(run / scan_file(role)).layers) == LAYERS, role
    assert pair_file("parent3") == "scan/pair-parent3.json"
    prior = Prior.load(run / "prior.json")
    for role in FOUR[1:]:
        pair = PairScan.load(run / pair_file(role))
        assert pair.parent == role and len(pair.layer_map) == LAYERS
        assert {response.loss for response in pair.response} == {"fitness", "protect:ko"}
        assert [layer.index for layer in prior.layers if layer.parent == role] == list(range(LAYERS))
        own = {gene.name for gene in prior.genes if gene.parent == role}
        assert own == {response.gene for response in pair.response} and all(name.endswith(role) for name in own)


def test_the_genome_has_a_gene_of_each_part_and_parent(run: Path) -> None:
    genome = Genome.load(run / "genome.json")
    assert tuple(genome.roles) == FOUR and genome.base
    assert genome.gene_parents.keys() == genome.genes.keys() == genome.tensors.keys()
    parts = {gene.removesuffix(f".{role}") for gene, role in genome.gene_parents.items()}
    assert set(genome.genes) == {f"{part}.{role}" for part in parts for role in FOUR[1:]}
    for layer, ratio in enumerate(genome.ratios):
        assert ratio == pytest.approx(sum(genome.genes[f"L{layer}.ffn.{role}"] for role in FOUR[1:]))


def test_the_null_children_are_scored_and_one_has_a_ratio_per_parent(run: Path) -> None:
    genome, frozen = (
        Genome.load(run / "genome.json"),
        {g.name for g in Prior.load(run / "prior.json").genes if g.frozen},
    )
    names = ("uniform", "per-parent", "prior-mean", "random", "shuffled-donor")
    assert tuple(genome.nulls) == names
    for role in FOUR[1:]:
        free = [gene for gene, parent in genome.gene_parents.items() if parent == role and gene not in frozen]
        mean = sum(genome.genes[gene] for gene in free) / len(free)
        assert all(genome.nulls["per-parent"][gene] == pytest.approx(mean) for gene in free)
    answered = {path.parent.name for path in run.glob("answers/*/*.jsonl")}
    assert answered == {*FOUR, "child", *(f"null-{name}" for name in names)}


def test_each_page_names_every_parent_and_no_record_a_folder(run: Path, siblings: dict[str, Path]) -> None:
    for page in ("report.html", "report.txt", "card.md"):
        text = (run / page).read_text(encoding="utf-8")
        for role in FOUR:
            assert siblings[role].name in text, (page, role)
    for path in (*run.rglob("*.json"), *run.glob("report.*"), run / "card.md"):
        text = path.read_text(encoding="utf-8")
        assert all(str(folder.parent) not in text for folder in (run, *siblings.values())), path


def test_merge_and_a_resumed_run_give_the_same_child(run: Path, siblings: dict[str, Path], tmp_path: Path) -> None:
    genome, child = Genome.load(run / "genome.json"), digests(run / "child")
    files = pipeline.merge(four_of(siblings), genome, tmp_path / "child")
    assert files.shards == child == digests(tmp_path / "child")
    before = {name: (run / name).read_bytes() for name in ("genome.json", "child.json", "ledger.jsonl")}
    for path in (run / "child").iterdir():
        path.unlink()
    for name in ("genome.json", "child.json"):
        (run / name).unlink()
    pipeline.breed(four_of(siblings), run, force=True, resume=True)
    assert {name: (run / name).read_bytes() for name in before} == before and digests(run / "child") == child


def test_two_parents_and_their_short_form_are_one_config(siblings: dict[str, Path]) -> None:
    """A run reads nothing but its config, so the two breed the same."""
    short = small({"father": siblings["father"], "sister": siblings["mother"], "base": siblings["base"]}, **TINY)
    data = {key: value for key, value in short.model_dump(mode="json").items() if key not in ("father", "mother")}
    whole = Config.model_validate(data)
    assert whole.parents == (str(siblings["father"]), str(siblings["mother"]))
    assert whole == short and whole.model_dump() == short.model_dump()


def adapter_of(base: Path, folder: Path) -> Path:
    """A LoRA folder, as peft writes it, for the FFNs of a model."""
    generator, tensors, rank = torch.Generator().manual_seed(5), {}, 2
    for name, stored in load_file(base / "model.safetensors").items():
        if ".mlp." in name and name.endswith("_proj.weight"):
            rows, columns = stored.shape
            for letter, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                key = f"base_model.model.{name.removesuffix('.weight')}.lora_{letter}.weight"
                tensors[key] = 0.3 * torch.randn(shape, generator=generator)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 4,
        "target_modules": ["gate_proj", "up_proj", "down_proj"],
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_base_with_an_adapter_is_a_third_parent(siblings: dict[str, Path], tmp_path: Path) -> None:
    adapter = adapter_of(siblings["base"], tmp_path / "adapter")
    third = f"{siblings['base']}+{adapter}"
    config = config_of(siblings, [siblings["father"], siblings["mother"], third], **TINY)
    result = pipeline.breed(config, tmp_path / "run", force=True)
    assert result.genome.parents[2].endswith("+adapter")
    alone = {gene: 1.0 if role == "parent3" else 0.0 for gene, role in result.genome.gene_parents.items()}
    files = pipeline.merge(config, result.genome.model_copy(update={"genes": alone}), tmp_path / "child")
    assert files.changed and all(".mlp." in name for name in files.changed)  # elsewhere its task vector is zero
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "child")


@pytest.mark.parametrize("method", ["breadcrumbs", "sce"])
def test_other_methods_breed_three_parents(siblings: dict[str, Path], tmp_path: Path, method: str) -> None:
    """Their gene spaces, and that a candidate in memory is the child on disk."""
    config = config_of(siblings, [siblings[role] for role in FOUR[:3]], method=method, density=0.7, **TINY)
    out = tmp_path / "run"
    genome = pipeline.breed(config, out, force=True).genome
    joint = method == "sce"
    assert set(genome.gene_parents.values()) == (set() if joint else {"mother", "parent3"})
    assert ("L0.ffn" if joint else "L0.ffn.parent3") in genome.genes
    assert ("per-parent" in genome.nulls) != joint

    parents = Parents.find(config)
    space = sibling_space(config, parents.father, parents.other_sources, parents.base)
    genes = {gene: 0.1 + 0.05 * (i % 5) for i, gene in enumerate(genome.genes)}
    Candidate(parents.father.model, space.tensors(), space.merge).apply(genes)
    pipeline.merge(config, genome.model_copy(update={"genes": genes}), tmp_path / "child")
    written: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "child", dtype=torch.float32)
    own_state, names = parents.father.model.state_dict(), survey(siblings["father"]).layout.text_tensors
    assert names and all(torch.equal(value, own_state[name]) for name, value in written.state_dict().items())
