"""Every kind of own task as fitness on the nursery, end to end: records, limits, resume, and another worker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darwin_mri import pipeline
from darwin_mri.config import Config, make_config
from darwin_mri.errors import ConfigError, InputError
from darwin_mri.nursery.world import World
from darwin_mri.records import Comparison, Genome, LedgerLine, Manifest, PairScan, References
from darwin_mri.records.roles import pair_file
from tests.pipeline.test_breed import without_times

PARENTS = {"parents": ["nursery:gemma4-korean", "nursery:gemma4-reasoning"], "base": "nursery:gemma4-base"}
TINY: dict[str, Any] = {
    "prior": {"items": 8, "steps": 1},
    "scan": {"languages": ["ko", "en"], "documents": 2, "max_tokens": 24, "mixers": False, "bootstrap": 50},
    "search": {"budget": 4, "population": 2, "items": 8, "blocks": 2, "finalists": 2},
    "bench": {"items": 8, "harness": False},
}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """An entry of every kind that needs no further package, about the nursery's world."""
    root, facts = tmp_path_factory.mktemp("tasks"), World().korean_facts[:60]
    asked = [(fact, fact.wordings(test=True)[0]) for fact in facts]
    choices = [{"context": text, "choices": [fact.value, *fact.wrong], "answer": 0} for fact, text in asked]
    written = [{"prompt": text, "answer": fact.value} for fact, text in asked]
    text = "\n\n".join(f"{text} {fact.value}. {text} {fact.wrong[0]}." for fact, text in asked)
    (root / "text.txt").write_text(text, encoding="utf-8")
    return {
        "exam": {"jsonl": write_lines(root / "exam.jsonl", choices)},
        "words": {
            "jsonl": write_lines(root / "words.jsonl", written),
            "match": "contains",
            "max_new_tokens": 4,
            "stand_in": "exam",
        },
        "text": {"nll": str(root / "text.txt"), "passage": 200},
        "alike": {"agreement": str(root / "text.txt"), "passage": 200},
    }


def config_of(own: dict[str, dict[str, Any]], changes: dict[str, Any] | None = None) -> Config:
    given = {
        **PARENTS,
        **TINY,
        "tasks": own,
        "fitness": {"exam": 0.25, "words": 0.25, "alike": 0.25, "text": 0.25},
        "limits": {"text": {"against": "mother", "worsen_by": 0.05}},
    }
    return make_config({**given, **(changes or {})}, "test")


@pytest.fixture(scope="module")
def run(tasks: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    pipeline.breed(config_of(tasks), out, force=True)
    return out


def ledger(run: Path) -> list[LedgerLine]:
    return [LedgerLine.model_validate_json(line) for line in (run / "ledger.jsonl").read_text().splitlines()]


def test_every_kind_is_scored_and_reported_in_its_own_unit(run: Path) -> None:
    lines = ledger(run)
    assert all(set(line.scores) == {"exam", "words", "text", "alike"} for line in lines if line.status == "ok")
    assert all(line.scores["text"] < 0 and line.scores["alike"] < 0 <= line.scores["exam"] for line in lines)
    comparison = Comparison.load(run / "comparison.json")
    units = {score.benchmark: score.unit for score in comparison.scores if score.role == "child"}
    assert units == {"exam": "", "words": "", "text": "nats/byte", "alike": "nats/token", "composite": "mixed"}
    assert {c.benchmark: c.unit for c in comparison.contrasts}["alike"] == "nats/token"
    better = {s.role: s.value for s in comparison.scores if s.benchmark == "alike" and s.slice == "all"}
    assert set(better) >= {"father", "mother", "child"} and max(better.values()) <= 0


def test_the_response_follows_slopes_and_stand_ins(run: Path) -> None:
    pair = PairScan.load(run / pair_file("mother"))
    assert any(response.loss == "fitness" and response.slope for response in pair.response)
    assert (run / "state" / "targets" / "alike.safetensors").is_file()


def test_a_limit_is_measured_kept_and_checked(run: Path, tasks: dict[str, dict[str, Any]]) -> None:
    reference = References.load(run / "references.json").scores["mother"]["text"]
    least = float(np.mean(reference)) - 0.05
    for line in ledger(run):
        assert line.violation == pytest.approx(max(0.0, least - line.scores["text"]))
    (check,) = Comparison.load(run / "comparison.json").limits
    assert (check.task, check.against, check.unit) == ("text", "mother", "nats/byte")
    assert check.kept == (check.difference >= -0.05) and check.low <= check.difference <= check.high


def test_no_record_holds_a_text_or_a_folder(run: Path, tasks: dict[str, dict[str, Any]]) -> None:
    folder = str(Path(tasks["exam"]["jsonl"]).parent)
    texts = [path.read_text(encoding="utf-8") for path in (*run.glob("*.json*"), *run.glob("answers/*/*"))]
    assert all("하늘벌" not in text and folder not in text for text in texts)
    assert Manifest.load(run / "manifest.json").config["tasks"]["text"]["nll"] == "text.txt"


def test_a_search_cut_short_goes_on_to_the_same_end(
    run: Path, tasks: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    (cut / "genome.json").unlink()
    for name in ("ledger.jsonl", "state/blocks.jsonl"):
        lines = (cut / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (cut / name).write_text("".join(lines[:3]), encoding="utf-8")
    pipeline.breed(config_of(tasks), cut, force=True, resume=True)
    assert Genome.load(cut / "genome.json") == Genome.load(run / "genome.json")
    assert without_times(cut / "ledger.jsonl") == without_times(run / "ledger.jsonl")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"limits": {"text": {"worsen_by": 0.1}}}, ConfigError, "limits.text.against: Field required"),
        ({"limits": {"text": {"against": "uncle"}}}, ConfigError, "limits.text.against is 'uncle': name one of father"),
        ({"limits": {"txt": {"against": "father"}}}, ConfigError, "there is no task or benchmark 'txt': did you mean"),
        ({"tasks": {"a": {"jsonl": "x", "nll": "y"}}}, ConfigError, "tasks.a: has jsonl and nll: give exactly one"),
        ({"tasks": {"a": {"nll": "y", "promt": "z"}}}, ConfigError, "tasks.a.promt: unknown key"),
        ({"tasks": {"a": {"agreement": "y", "with": "uncle"}}}, ConfigError, "tasks.a.with is 'uncle'"),
        ({"tasks": {"a": {"nll": "no.txt"}}}, InputError, "no.txt does not exist"),
        ({"tasks": {"a": {"jsonl": "no.jsonl", "stand_in": "a"}}}, ConfigError, "name another task"),
    ],
)
def test_bad_tasks_and_limits_are_refused_before_anything_is_written(
    tasks: dict[str, dict[str, Any]], tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    if "tasks" in changes:
        changes = {"limits": {}, "fitness": dict.fromkeys(changes["tasks"], 1.0), **changes}
    with pytest.raises(error, match=words):
        pipeline.breed(config_of(tasks, changes), tmp_path / "run", force=True)
    assert not (tmp_path / "run").exists()
