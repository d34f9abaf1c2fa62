"""An arena on the nursery's pair: every control is run, finished cells are kept, the father is left unchanged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from darwin_mri.arena import load_arena, run_arena
from darwin_mri.arena.finetune import finetune
from darwin_mri.arena.retrieval import show_texts
from darwin_mri.arena.runner import SeedBench
from darwin_mri.arena.settings import Entry
from darwin_mri.benchmarks import ChoiceItem, load_benchmark
from darwin_mri.checkpoints.find import find_model
from darwin_mri.checkpoints.model import load
from darwin_mri.cli import app
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.merging import Donors
from darwin_mri.merging.arms import Context
from darwin_mri.merging.candidate import Candidate
from darwin_mri.nursery.prompts import world_prompts
from darwin_mri.nursery.world import World
from darwin_mri.probes import load_probes
from darwin_mri.records import ArenaResult

NULLS = ["random", "shuffled", "mask", "ignorant", "father-writes", "outside-text"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arena")
    (folder / "prompts").mkdir()
    science = [p for p in world_prompts(World(), 1, 1) if p[2].startswith("science")][:24]
    lines = [json.dumps({"text": t, "language": lang, "domain": "knowledge", "doc": doc}) for t, lang, doc in science]
    (folder / "prompts" / "science.jsonl").write_text("\n".join(lines), encoding="utf-8")
    arm = {"layers": [7], "documents": 2, "new_tokens": 3}
    settings = {
        "name": "small",
        "father": "nursery:gemma4-korean",
        "mother": "nursery:qwen35-mother",
        "ignorant": "nursery:gemma4-base",
        "arms": {
            "competence": {"method": "competence", "arm": arm},
            "raw": {"method": "raw"},
            "finetune": {"method": "finetune", "steps": 2, "arm": arm, "nulls": False},
            "adapters": {
                "method": "finetune",
                "train": "lora",
                "rank": 2,
                "learning_rate": [1e-4, 1e-2],
                "steps": 2,
                "arm": arm,
                "nulls": False,
            },
            "retrieval": {"method": "retrieval", "shown": 2, "arm": arm, "nulls": False},
        },
        "ratios": [1.0],
        "seeds": [1],
        "tasks": {"nursery_gpqa": 1.0},
        "search_share": 0.9,
        "search_items": 8,
        "prompts": str(folder / "prompts"),
    }
    (folder / "arena.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder / "arena.yaml"


@pytest.fixture(scope="module")
def run(file: Path) -> Path:
    out = file.parent / "out"
    outcome = CliRunner().invoke(app, ["arena", "--config", str(file), "--out", str(out), "--offline", "--quiet"])
    assert outcome.exit_code == 0, outcome.output
    assert "No vigor" in outcome.output
    return out


def test_every_cell_leaves_a_record_and_a_page_is_written(run: Path) -> None:
    cells = sorted(path.relative_to(run / "cells" / "seed-1").with_suffix("") for path in run.rglob("cells/**/*.json"))
    expected = ["parents/father", "parents/mother", "competence/child", "raw/child"]
    expected += [f"{name}/child" for name in ("finetune", "adapters", "retrieval")]
    expected += [f"competence/{null}" for null in NULLS]
    expected += [f"raw/{null}" for null in ("random", "shuffled", "layers", "ignorant")]
    assert sorted(map(str, cells)) == sorted(expected)
    result = ArenaResult.load(run / "arena.json")
    assert len(result.rows) == len(expected) and result.items == 56
    assert str(run) not in (run / "arena.json").read_text(encoding="utf-8")
    assert (run / "arena.html").read_text(encoding="utf-8").count("father-writes") > 1


def test_what_an_edit_costs_in_prose_is_measured_on_texts_it_was_not_made_from(run: Path) -> None:
    rows = {(row.arm, row.null): row.rises for row in ArenaResult.load(run / "arena.json").rows}
    child, random = rows["competence", "child"], rows["competence", "random"]
    assert set(child) == {"ko", "en"} and all(abs(rise) < 0.1 for rise in child.values())
    assert all(random[language] != child[language] for language in child)
    assert rows["raw", "child"] == {}  # its settings have it read every packaged text
    assert rows["retrieval", "child"] == rows["parents", "father"] == {}  # the father's own weights
    assert " %" in (run / "arena.html").read_text(encoding="utf-8")


def written(run: Path) -> dict[Path, int]:
    """When each cell was written."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("cells/**/*.json")}


def scores(result: ArenaResult) -> list[tuple[object, ...]]:
    return [(row.arm, row.null, row.values) for row in result.rows]


def test_finished_cells_are_kept_and_missing_ones_run_again(file: Path, run: Path) -> None:
    before, first, config = written(run), ArenaResult.load(run / "arena.json"), load_arena(file)
    assert run_arena(config, run, offline=True) == first and written(run) == before
    missing = run / "cells" / "seed-1" / "raw" / "random.json"
    missing.unlink()
    assert scores(run_arena(config, run, offline=True)) == scores(first)
    assert {path for path, time in written(run).items() if time != before[path]} == {missing}


def test_only_the_cells_of_a_changed_arm_run_again(file: Path, run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "out")
    before, config = written(out), load_arena(file)
    raw = config.arms["raw"].model_copy(update={"method": "folded"})
    run_arena(config.model_copy(update={"arms": {**config.arms, "raw": raw}}), out, offline=True)
    changed = {path for path, time in written(out).items() if time != before[path]}
    assert changed == {path for path in before if path.parent.name == "raw"}


def test_each_null_differs_from_the_child_as_its_name_says(file: Path) -> None:
    config = load_arena(file)
    models = {
        role: load(find_model(ref), device="cpu", dtype="float32")
        for role, ref in (("father", config.father), ("mother", config.mother), ("ignorant", config.ignorant or ""))
    }
    bench = SeedBench(config, models, {"nursery_gpqa": load_benchmark("nursery_gpqa")}, 1)
    father, entry = models["father"], config.arms["competence"]
    before = {name: p.detach().clone() for name, p in father.model.named_parameters()}
    merges = {null: bench.factory.merge(entry, null) for null in ("child", *NULLS)}
    name = merges["child"][1].names()[0]
    edits = {null: merge.tensor(name, 1.0).float() - before[name] for null, (merge, _) in merges.items()}
    child = edits["child"]
    assert child.norm() > 0
    for null in ("random", "shuffled"):  # rounded to the father's bf16 once added to it
        assert torch.allclose(edits[null].norm(), child.norm(), rtol=2e-2) and not torch.allclose(edits[null], child)
    for null in ("mask", "ignorant", "father-writes", "outside-text"):
        assert not torch.allclose(edits[null], child)
    more = entry.model_copy(update={"arm": entry.arm.model_copy(update={"documents": 3})})
    tokens = [donors.layers[0].fit["tokens"] for donors in (merges["child"][1], bench.factory.merge(more, "child")[1])]
    assert tokens[0] < tokens[1]  # every arm reads its own texts
    merge, raw = bench.factory.merge(config.arms["raw"], "child")
    candidate = Candidate(father.model, {"all": raw.names()}, merge)
    candidate.apply({"all": 0.25})
    moved = dict(father.model.named_parameters())
    for key in raw.names():
        assert torch.allclose(moved[key], before[key] + 0.25 * (raw.tensor(key).float() - before[key]), atol=2e-3)
    candidate.restore()
    bench.factory.merge(config.arms["finetune"], "child")
    assert all(torch.equal(p, before[key]) for key, p in father.model.named_parameters())


@pytest.mark.parametrize(("train", "rank"), [("lora", 3), ("layers", 1)])
def test_what_learns_is_what_was_asked_for_and_the_father_stays(train: str, rank: int) -> None:
    father = load(find_model("nursery:gemma4-korean"), device="cpu", dtype="float32")
    entry = Entry(method="finetune", train=train, rank=rank, steps=2, learning_rate=1e-3)  # type: ignore[arg-type]
    context = Context(father, father, tuple(range(len(father.layers))), entry.arm, texts=load_probes()[:8])
    before = {name: p.detach().clone() for name, p in father.model.named_parameters()}
    donors = Donors(finetune(context, entry))
    assert [layer.layer for layer in donors.layers] == list(range(len(father.layers)))
    inside = {name for name in before if ".layers." in name}
    if train == "layers":
        assert set(donors.names()) == inside
    else:
        changes = [donors.tensor(name).float() - before[name] for name in donors.names()]
        ranks = [torch.linalg.matrix_rank(change, rtol=1e-3) for change in changes]
        assert {name for name in inside if before[name].dim() == 2} == set(donors.names()) and 0 < max(ranks) <= rank
    after = dict(father.model.named_parameters())
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    assert not any(p.requires_grad for p in after.values())


def test_retrieval_puts_the_text_that_answers_before_its_question() -> None:
    items = [item for item in load_benchmark("nursery_gpqa")[:40] if isinstance(item, ChoiceItem)]
    answers = [f"{item.context} {item.choices[item.gold]}." for item in items]
    shown = show_texts(items, [*answers, "Another text.", answers[0]], 2)
    assert [item.key for item in shown] == [item.key for item in items]
    for item, new, answer in zip(items, shown, answers, strict=True):
        assert isinstance(new, ChoiceItem) and new.context.endswith(f"{answer}\n\n{item.context}")
        assert new.context.count("\n") == 3
    with pytest.raises(InputError, match="no text to show"):
        show_texts(items, [], 2)


def test_own_questions_are_a_task_whose_items_are_part_of_a_cell(file: Path, tmp_path: Path) -> None:
    table = tmp_path / "own.jsonl"
    rows = [{"question": f"Is {n} even?", "choices": ["yes", "no"], "answer": n % 2} for n in range(20)]

    def run_with(rows: Sequence[dict[str, Any]]) -> ArenaResult:
        table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        change = {"tasks": {"even": 1.0}, "own": {"even": {"jsonl": str(table)}}, "arms": {"raw": {"method": "raw"}}}
        path = tmp_path / "arena.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(file.read_text(encoding="utf-8")) | change | {"nulls": []}))
        return run_arena(load_arena(path), tmp_path / "out", offline=True)

    first, cells = run_with(rows), written(tmp_path / "out")
    assert first.comparison.benchmarks[0].name == "even" and str(tmp_path) not in first.model_dump_json()
    run_with(rows)
    assert written(tmp_path / "out") == cells
    run_with([*rows[1:], rows[0] | {"answer": 1}])
    assert all(time != cells[path] for path, time in written(tmp_path / "out").items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"x": {"method": "retrieval"}}}, "arms has no arm"),
        ({"own": {"x": {"jsonl": "x.jsonl"}}}, "has no weight in tasks"),
        ({"arms": {"x": {"method": "theseus"}}}, "arms.x.method"),
        ({"ratio": [1]}, "did you mean 'ratios'"),
        ({"tasks": {"nursery_gpqa": 0}}, "above 0"),
        ({"ratios": [0.0]}, "above 0"),
    ],
)
def test_a_wrong_config_is_one_clear_line(file: Path, change: dict[str, object], message: str) -> None:
    path = file.parent / "wrong.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(file.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_arena(path)


def test_prompts_of_an_unknown_world_are_refused(file: Path) -> None:
    config = load_arena(file).model_copy(update={"prompts": "nursery@moon"})
    with pytest.raises(ConfigError, match="nursery@moon names no world"):
        run_arena(config, file.parent / "moon", offline=True)
