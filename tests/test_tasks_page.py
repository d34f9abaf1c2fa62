"""docs/tasks.md: its commands run as they stand, and the child's report is about the reader's own questions."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from darwin_mri.config import QuestionTask, load_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tasks.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_pages_commands_breed_a_child(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "run.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    for line in blocks("sh")[0].strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "darwin-mri"
        command = [sys.executable, "-m", "darwin_mri", *words, "--quiet"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / "run"
    assert (run / "child" / "model.safetensors").is_file()
    assert "On which benchmark? On mine" in (run / "report.txt").read_text(encoding="utf-8")
    comparison = json.loads((run / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["benchmarks"][0]["title"] == "mine (questions.csv)"
    texts = [path.read_text(encoding="utf-8") for path in (*run.glob("*.json"), *run.glob("answers/*/*"))]
    assert all("하늘벌" not in text and str(ROOT) not in text for text in texts), (
        "a record holds a question or a folder"
    )


def test_the_pages_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(blocks("yaml")[2], encoding="utf-8")
    config = load_config(tmp_path / "run.yaml", {"father": "a", "mother": "b"})
    exam, korean = config.tasks["exam"], config.tasks["korean"]
    assert isinstance(exam, QuestionTask) and isinstance(korean, QuestionTask)
    assert exam.letters and korean.prompt == "{question}\n정답:"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--task", "mine"], 2, "write it as NAME=FILE"),
        (["--task", "mine=no.csv"], 1, "no.csv does not exist"),
        (["--task", "a=x.csv", "--task", "a=y.csv"], 2, "--task a is given twice"),
        (["--task", "../up=x.csv"], 2, "../up"),
    ],
)
def test_a_bad_task_is_refused_in_one_line(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    parents = ["--father", "nursery:gemma4-korean", "--mother", "nursery:gemma4-reasoning"]
    command = [sys.executable, "-m", "darwin_mri", "breed", *parents, *words, "--method", "linear", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code and said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "run").exists()
