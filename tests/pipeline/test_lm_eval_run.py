"""A run by tasks of lm-eval from the command line, one of which asks for code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.benchmarks.lm_eval_files import CHOICES, TASKS, WRITTEN, with_code, write_data, write_task
from tests.commands import call
from tests.family import small

pytest.importorskip("lm_eval")


def test_a_run_by_lm_eval_tasks_asks_for_permission_and_ends_with_a_report(
    family: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mark, run = tmp_path / "tasks", tmp_path / "mark", tmp_path / "run"
    write_data(folder, 40)
    write_task(folder, "texts", **TASKS["texts"])
    write_task(folder, "written", **{**WRITTEN, "generation_kwargs": {"max_gen_toks": 4, "until": ["\n"]}})
    with_code(folder, "quiz", mark, **CHOICES)
    tasks = {name: {"lm_eval": name, "include_path": str(folder)} for name in ("quiz", "texts", "written")}
    data = small(family, search={"workers": "devices", "devices": ["cpu"]}).model_dump(mode="json")
    data |= {"tasks": tasks, "fitness": {"quiz": 0.5, "texts": 0.5}}
    data["bench"]["tasks"] = list(tasks)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    breed = ("breed", "--config", tmp_path / "run.yaml", "--out", run, "--force", "--quiet", "--offline")

    code, _, said = call(capfd, monkeypatch, *breed)
    assert code == 1 and len(said.strip().splitlines()) == 1, said
    assert "quiz.yaml asks to run code (!function code.docs)" in said and "--allow-task-code" in said
    assert not run.exists() and not mark.exists()

    code, _, said = call(capfd, monkeypatch, *breed, "--allow-task-code")
    assert code == 0, said
    assert mark.exists() and (run / "report.html").is_file()
    report = (run / "report.txt").read_text(encoding="utf-8")
    assert "nats/word" in report and "lm-eval-quiz" in report
    comparison = json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    titles = {benchmark["title"] for benchmark in comparison["benchmarks"]}
    assert titles == {"quiz (lm-eval quiz)", "texts (lm-eval texts)", "written (lm-eval written)"}
    kept = [path.read_text(encoding="utf-8") for path in (*run.glob("*.json"), *run.glob("answers/*/*"))]
    assert not any("Which colour" in text or "p1" in text.split('"') for text in kept), "a record holds a document"

    resume = ("breed", "--resume", run, "--force", "--quiet", "--offline")
    code, _, said = call(capfd, monkeypatch, *resume)
    assert code == 1 and "--allow-task-code" in said, "permission is given to a command, and kept nowhere"
    code, _, said = call(capfd, monkeypatch, *resume, "--allow-task-code")
    assert code == 0, said
