"""docs/tasks.md: its commands run as they stand, and the child's report is about the reader's own questions."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from darwin_mri.config import QuestionTask, load_config
from tests.commands import call

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tasks.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_pages_commands_breed_a_child(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "run.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    for line in blocks("sh")[0].strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "darwin-mri"
        code, _, stderr = call(capfd, monkeypatch, *words, "--quiet")
        assert code == 0, stderr[-2000:]
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
def test_a_bad_task_is_refused_in_one_line(
    tmp_path: Path,
    words: list[str],
    code: int,
    said: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    parents = ["--father", "nursery:gemma4-korean", "--mother", "nursery:gemma4-reasoning"]
    ended, _, stderr = call(capfd, monkeypatch, "breed", *parents, *words, "--method", "linear", "--out", "run")
    assert ended == code and said in stderr and len(stderr.strip().splitlines()) == 1, stderr
    assert not (tmp_path / "run").exists()
