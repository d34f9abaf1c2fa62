"""``init``: the file it writes loads, says why, and is one that ``breed`` takes; what no flag says is asked."""

from __future__ import annotations

import io
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from darwin_mri.config import load_config
from darwin_mri.problem.draft import common_base
from tests import toys
from tests.commands import call

QUESTIONS = Path(__file__).parents[2] / "examples" / "questions.csv"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to write into."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def siblings(folder: Path) -> list[str]:
    return [str(toys.pico_llama(folder / name, seed=seed)) for seed, name in enumerate(("base", "first", "second"))]


def test_flags_alone_write_a_config_with_reasons_and_say_what_it_needs(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, first, second = siblings(elsewhere)
    words = ("--parent", first, "--parent", second, "--base", base, "--task", f"mine={QUESTIONS}", "--protect", "ko")
    code, out, err = call(capfd, monkeypatch, "init", *words, "--yes", "--name", "both")
    config = load_config(elsewhere / "both.yaml", {})
    assert code == 0 and "darwin-mri breed --config both.yaml" in err
    assert (config.method, config.base, config.prior.protect) == ("task_arithmetic", base, ("ko",))
    assert config.parents == (first, second) and config.fitness == {"mine": 1.0}
    text = (elsewhere / "both.yaml").read_text()
    assert text in out and "evaluations, about" in out and "This run fits." in out
    sections = [line for line in text.splitlines() if line and not line.startswith(("#", " ", "-"))]
    assert text.count("\n# ") >= len(sections) - 2  # a reason for each choice; base and method share one


def test_the_file_is_what_breed_takes(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, first, second = siblings(elsewhere)
    words = ("--parent", first, "--parent", second, "--base", base, "--task", f"mine={QUESTIONS}", "--yes", "--json")
    code, out, _ = call(capfd, monkeypatch, "init", *words)
    assert code == 0 and json.loads(out)["config"] == "child.yaml"
    fewer = re.sub(r"budget: \d+", "{budget: 2, population: 2, items: 8, finalists: 1}", json.loads(out)["text"])
    Path("small.yaml").write_text(fewer.replace("search:\n  {", "search: {") + "bench: {items: 8, harness: false}\n")
    code, _, err = call(capfd, monkeypatch, "breed", "--config", "small.yaml", "--out", "run", "--force", "--quiet")
    assert code == 0, err
    assert (elsewhere / "run" / "report.html").is_file()


def test_without_lm_eval_the_config_asks_for_the_own_scorer_and_says_why(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, first, second = siblings(elsewhere)
    monkeypatch.setattr(
        "darwin_mri.problem.draft.find_spec", lambda name: None if name == "lm_eval" else find_spec(name)
    )
    words = ("--parent", first, "--parent", second, "--base", base, "--task", f"mine={QUESTIONS}", "--yes")
    code, out, _ = call(capfd, monkeypatch, "init", *words)
    assert code == 0 and "lm-eval is not installed" in out
    assert load_config(elsewhere / "child.yaml", {}).bench.harness is False


def test_what_no_flag_says_is_asked(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, first, second = siblings(elsewhere)
    answers = ["", first, "", second, "", base, str(QUESTIONS), "", "ko, code"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    code, _, err = call(capfd, monkeypatch, "init")
    config = load_config(elsewhere / "child.yaml", {})
    assert code == 0 and err.count("(empty: no more)") == 1
    assert config.parents == (first, second) and config.base == base
    assert config.prior.protect == ("ko", "code") and set(config.tasks) == {"questions"}


def test_other_tokens_lead_to_their_union_and_another_architecture_to_an_arm(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = "nursery:gemma4-korean", "nursery:qwen35-mother"
    words = ("--task", f"mine={QUESTIONS}", "--yes", "--overwrite", "--parent", first)
    code, _, _ = call(capfd, monkeypatch, "init", *words, "--parent", second)
    assert code in (0, 3)  # on a small machine the plan says that memory is short
    assert load_config(elsewhere / "child.yaml", {}).method == "competence"
    code, _, err = call(capfd, monkeypatch, "init", *words, "--parent", second, "--parent", "nursery:gemma4-base")
    assert code == 1 and "cannot be merged tensor by tensor" in err


def test_bad_input_is_one_line_and_no_file_is_replaced(
    elsewhere: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("child.yaml").write_text("mine")
    pair = ("--parent", "nursery:gemma4-korean", "--parent", "nursery:gemma4-reasoning", "--yes")
    gone = ("--parent", "gone", "--parent", "gone", "--yes", "--offline")
    for words, said in (
        (("--yes",), "two parents are needed"),
        (pair, "a task is needed"),
        ((*pair, "--task", f"mine={QUESTIONS}"), "child.yaml is there already"),
        ((*pair, "--task", "mine=absent.csv", "--name", "a"), "absent.csv"),
        ((*pair, "--task", f"mine={QUESTIONS}", "--name", "a b"), "name"),
        ((*gone, "--task", f"m={QUESTIONS}", "--name", "b"), "gone"),
    ):
        code, out, err = call(capfd, monkeypatch, "init", *words)
        assert code in (1, 2, 3) and said in out + err, (words, out, err)
        assert "Traceback" not in err
    assert Path("child.yaml").read_text() == "mine"
    assert not Path("b.yaml").exists() and not Path("a b.yaml").exists()


def test_adapters_of_one_model_name_their_base() -> None:
    assert common_base(("m+a", "m+b")) == "m"
    assert common_base(("m+a", "n+b")) is None
    assert common_base(("m", "m+b")) is None
