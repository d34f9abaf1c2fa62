"""``breed`` with a repair: both children on disk, the comparison with its nulls, the report, and that it resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from darwin_mri import pipeline
from darwin_mri.benchmarks import ChoiceItem
from darwin_mri.checkpoints.reader import CheckpointReader
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging.repair_child import RepairFolder
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.repair_texts import repair_texts
from darwin_mri.records import ChildFiles, Comparison, Genome, Health, RepairRecord
from darwin_mri.report import build_view, load_run
from darwin_mri.report.model.elements import Figure, Table
from tests.commands import spawn
from tests.family import small
from tests.slow import slow
from tests.toys import pico_gemma4

REPAIR: dict[str, Any] = {"strengths": [0.1, 1.0], "optional": False, "documents": 3, "max_tokens": 16}
QUICK: dict[str, Any] = {"prior": {"preset": "flat"}, "search": {"budget": 2, "population": 2, "finalists": 1}}
NULLS = {"null:repair-father", "null:repair-shuffled-text"}


def shards(child: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in child.glob("*.safetensors")}


def without_seconds(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text())
    data.pop("seconds")
    for choice in data["choices"]:
        choice.pop("seconds")
    return data


@pytest.fixture(scope="module")
def run(family: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, made by the command line."""
    folder = tmp_path_factory.mktemp("repair")
    config = small(family, repair=REPAIR, **QUICK).model_dump(mode="json", exclude_none=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    words = ("--config", folder / "config.yaml", "--out", folder / "run", "--force", "--offline")
    done = spawn("breed", *words, "--repair")
    assert done.returncode == 0, done.stderr.decode()
    assert "Repaired child" in done.stdout.decode()
    return folder / "run"


def test_both_children_are_written(run: Path, family: dict[str, Path]) -> None:
    record, files = RepairRecord.load(run / "repair.json"), ChildFiles.load(run / "child-repaired.json")
    maps = {one.tensor for one in record.maps}
    with (
        CheckpointReader(run / "child") as child,
        CheckpointReader(run / "child-repaired") as repaired,
        CheckpointReader(family["father"]) as father,
    ):
        assert child.names() == repaired.names() == father.names()
        assert all(repaired.dtype(name) == father.dtype(name) for name in father.names())
        differ = {name for name in child.names() if not torch.equal(child.tensor(name), repaired.tensor(name))}
        changed = {name for name in father.names() if not torch.equal(father.tensor(name), repaired.tensor(name))}
    assert differ and differ <= maps and changed == set(files.changed)
    note = json.loads((run / "child-repaired" / "darwin_mri.json").read_text())
    assert note["repair"] == {"strength": record.strength} and note["genealogy"][-1].endswith(
        "(task_arithmetic, repaired)"
    )
    model: Any = AutoModelForCausalLM.from_pretrained(run / "child-repaired")
    assert torch.isfinite(model(torch.tensor([[5, 6, 7]])).logits).all()


def test_the_record_says_what_was_done(run: Path) -> None:
    record, genome = RepairRecord.load(run / "repair.json"), Genome.load(run / "genome.json")
    assert [choice.strength for choice in record.choices] == REPAIR["strengths"]
    best = max(record.choices, key=lambda choice: choice.fitness)
    assert record.strength == best.strength and set(best.scores) == {"nursery_click", "nursery_musr"}
    assert all(group.teachers == {"father": group.documents} for group in record.groups if group.language == "ko")
    assert all(sum(group.teachers.values()) == group.documents for group in record.groups)
    assert sum(group.documents for group in record.groups) == record.documents
    assert set(record.groups[0].nll_per_byte) == set(genome.roles)
    assert any(one.explained_after > one.explained_before for one in record.maps)
    assert record.left_alone and not record.notes
    kept = [path.name for path in (run / "state" / "repair").iterdir() if path.is_dir()]
    assert len(kept) == 1 and kept[0].endswith(f"-{best.strength:g}")  # of the chosen strength alone


def test_the_repaired_child_is_compared(run: Path) -> None:
    comparison = Comparison.load(run / "comparison-repaired.json")
    roles = {score.role for score in comparison.scores}
    assert roles == {"father", "mother", "child", "baseline", *NULLS}
    contrast = next(c for c in comparison.contrasts if c.other == "baseline" and c.benchmark == "composite")
    assert contrast.model == "toy, not repaired" and contrast.n == 16
    main = Comparison.load(run / "comparison.json")
    own = {s.benchmark: s.value for s in main.scores if s.role == "child" and s.slice == "all"}
    beside = {s.benchmark: s.value for s in comparison.scores if s.role == "baseline" and s.slice == "all"}
    assert own == beside
    folders = {path.parent.name for path in run.glob("answers/*/*.jsonl")}
    assert folders >= {"child", "child-repaired", "null-repair-father", "null-repair-shuffled-text"}


def test_the_report_shows_it(run: Path) -> None:
    section = build_view(load_run(run)).section("repair")
    (figure,) = (block for block in section.blocks if isinstance(block, Figure))
    rows = {row.cells[1] for row in figure.tables[0].rows}
    assert rows >= {"repaired child", "child, not repaired", "null: repair-father", "null: repair-shuffled-text"}
    captions = {block.caption for block in section.blocks if isinstance(block, Table)}
    assert captions == {"Strengths tried", "Who taught which texts", "Maps by layer"}
    assert "health check" in str(section.blocks[0]) and Health.load(run / "health-repaired.json").gates
    assert "Repaired child" in (run / "report.html").read_text()


def test_a_repair_that_is_interrupted_ends_in_the_same_bytes(
    run: Path, family: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    for name in ("child", "child-repaired", "state/repair", "state/answers"):
        shutil.rmtree(broken / name)
    for name in ("child", "child-repaired", "health", "comparison", "comparison-repaired", "repair"):
        (broken / f"{name}.json").unlink()
    save, saved = RepairFolder.save, list[int]()

    def killed(self: RepairFolder, layer: int, *args: Any) -> None:
        save(self, layer, *args)
        saved.append(layer)
        if len(saved) == 6:  # within the second strength
            raise KeyboardInterrupt

    monkeypatch.setattr(RepairFolder, "save", killed)
    config = small(family, repair=REPAIR, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        pipeline.breed(config, broken, resume=True, force=True)
    pipeline.breed(config, broken, resume=True, force=True)
    layers = len({one.layer for one in RepairRecord.load(run / "repair.json").maps})
    assert len(saved) == 4 * layers  # two strengths and two nulls, no layer twice
    assert shards(broken / "child-repaired") == shards(run / "child-repaired")
    assert without_seconds(broken / "repair.json") == without_seconds(run / "repair.json")
    assert (broken / "comparison-repaired.json").read_text() == (run / "comparison-repaired.json").read_text()


def test_no_repair_where_none_is_better_and_few_tokens_are_said(family: dict[str, Path], tmp_path: Path) -> None:
    """A pull that gives the merged weights back is as good as no repair, which is kept."""
    folder = tmp_path / "texts"
    folder.mkdir()
    line = {"text": "a few words", "language": "en", "domain": "prose", "doc": "1"}
    (folder / "texts.jsonl").write_text(json.dumps(line))
    changes = {"strengths": [1e12], "texts": str(folder), "max_tokens": 8}
    pipeline.breed(small(family, repair=changes, **QUICK), tmp_path / "run", force=True)
    record = RepairRecord.load(tmp_path / "run" / "repair.json")
    none, strong = record.choices
    assert none.strength is None and record.strength is None and strong.fitness == none.fitness
    assert record.documents == 1 and "have rank 8 at most" in record.notes[0] and "\n" not in record.notes[0]
    assert not (tmp_path / "run" / "child-repaired").exists()
    assert not (tmp_path / "run" / "comparison-repaired.json").exists()
    section = build_view(load_run(tmp_path / "run")).section("repair")
    assert "no strength that was tried was better" in str(section.blocks[0])
    assert str(folder) not in (tmp_path / "run" / "manifest.json").read_text()


def test_parents_of_two_architectures_are_refused(family: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="repair is for parents of one architecture") as caught:
        small(family, mother=str(family["mother"]), base=None, method="folded", search={"space": "ffn"}, repair={})
    assert "\n" not in str(caught.value)


def test_texts_that_cannot_be_read_are_refused_before_anything_is_written(
    family: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no .jsonl file"):
        pipeline.breed(small(family, repair={"texts": str(tmp_path / "none")}), tmp_path / "run", force=True)
    assert not (tmp_path / "run").exists()


def test_the_questions_of_search_items_can_be_the_texts(family: dict[str, Path]) -> None:
    parents = Parents.find(small(family, repair={"texts": "items", "documents": 5}))
    assert parents.config.repair is not None
    texts = repair_texts(parents.config, parents.config.repair, lambda: parents.items.pool)
    asked = {item.context for items in parents.items.pool.values() for item in items if isinstance(item, ChoiceItem)}
    held_out = {
        item.context for items in parents.items.held_out.values() for item in items if isinstance(item, ChoiceItem)
    }
    assert len(texts) == 10 and {text.text for text in texts} <= asked - held_out


@slow
def test_three_parents_and_a_front(family: dict[str, Path], tmp_path: Path) -> None:
    """The preferred member of a front is repaired, and any parent may teach."""
    pytest.importorskip("pymoo")
    third = pico_gemma4(tmp_path / "third", seed=7, dtype="bfloat16")
    parents = [str(family["father"]), str(family["sister"]), str(third)]
    search = {"strategy": "nsga2", "budget": 6, "population": 4, "front": 3, "baselines": []}
    config = small(family, parents=parents, search=search, repair={**REPAIR, "strengths": [0.3]})
    pipeline.breed(config, tmp_path / "run", force=True)
    record = RepairRecord.load(tmp_path / "run" / "repair.json")
    assert {role for group in record.groups for role in group.teachers} == {"father", "mother", "parent3"}
    assert Comparison.load(tmp_path / "run" / "comparison-repaired.json").vigor is not None
