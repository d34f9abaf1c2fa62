"""lm-eval's own tasks against this package's, on files of the same fields: prompts, log-probabilities, accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from darwin_mri.benchmarks import ChoiceItem, FastEngine, Scorer, answer_all, get_benchmark
from tests.choices import load_choices
from tests.toys import byte_tokenizer

from . import files
from .conftest import make_model

TASKS = Path(lm_eval.__file__).parent / "tasks"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def lm() -> Any:
    """A byte-level model: no two of lm-eval's and our cuts between context and choice can differ for want of luck."""
    model = make_model("llama")
    model.config.max_position_embeddings = 1024
    hflm: Any = HFLM  # its registering decorator hides the parameters from type checkers
    return hflm(
        pretrained=model, tokenizer=byte_tokenizer(), batch_size=4, max_length=1024, softmax_dtype=torch.float32
    )


def upstream(lm: Any, folder: Path, group: dict[str, Any], include: list[Path]) -> list[dict[str, Any]]:
    """Samples of lm-eval's own tasks, their data taken from local files by a group made here."""
    (folder / "group.yaml").write_text(json.dumps({"group": "local", **group}))
    manager = TaskManager(include_path=[str(path) for path in (*include, folder)], include_defaults=False)
    results: Any = evaluate(lm=lm, task_dict=manager.load(["local"]), bootstrap_iters=0, log_samples=True)
    return [sample for samples in results["samples"].values() for sample in samples]


def compare(
    lm: Any, samples: list[dict[str, Any]], items: tuple[ChoiceItem, ...], protocol: Any, headline: str
) -> None:
    scorer = Scorer(lm.model, lm.tokenizer)
    answers = answer_all(FastEngine(scorer), items, protocol)
    by_context = {item.context: (item, answer) for item, answer in zip(items, answers, strict=True)}
    assert len(by_context) == len(samples) == len(items)
    for sample in samples:
        context = sample["arguments"][0][0]
        item, answer = by_context[context.rstrip()]
        assert [pair[1] for pair in sample["arguments"]] == [f" {choice}" for choice in item.choices]
        expected = [float(pair[0]) for pair in sample["filtered_resps"]]
        assert answer.log_probabilities == pytest.approx(expected, abs=1e-3)
        assert answer.credit == sample[headline]
        for metric, credit in answer.metrics.items():
            assert credit == sample.get(metric, credit)


@pytest.mark.filterwarnings("ignore")
def test_click_upstream_is_lm_evals_own_click(lm: Any, data: Path, tmp_path: Path) -> None:
    group = {
        "task": ["click_cul_society", "click_lang_text"],
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": str(data / "click" / "click.jsonl")}},
    }
    samples = upstream(lm, tmp_path, group, [TASKS / "click"])
    items = load_choices("click_upstream", data)
    compare(lm, samples, items, get_benchmark("click_upstream").protocol, "acc")
    printed = load_choices("click", data)
    assert [i.gold for i in printed] == [i.gold for i in items]
    hidden = [(o, u) for o, u in zip(printed, items, strict=True) if len(o.choices) == 5]
    assert hidden and all("마\n" in o.context and "마" not in u.context for o, u in hidden)  # the fault it repeats


@pytest.mark.filterwarnings("ignore")
def test_musr_is_lm_evals_leaderboard_musr(lm: Any, data: Path, tmp_path: Path) -> None:
    tasks = ("murder_mysteries", "object_placements", "team_allocation")
    group = {
        "task": [f"leaderboard_musr_{task}" for task in tasks],
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {task: str(data / "musr" / f"{task}.jsonl") for task in tasks}},
    }
    samples = upstream(lm, tmp_path, group, [TASKS / "leaderboard" / "musr"])
    items = load_choices("musr", data)
    compare(lm, samples, items, get_benchmark("musr").protocol, "acc_norm")
    answers = answer_all(FastEngine(Scorer(lm.model, lm.tokenizer)), items, get_benchmark("musr").protocol)
    assert any(a.metrics["acc"] != a.metrics["acc_norm"] for a in answers if a.metrics)


def test_gpqa_asks_what_lm_evals_zero_shot_task_asks(data: Path) -> None:
    """lm-eval's shuffle differs at each access: prompt and cleaning are compared on the order of the items."""
    config = (TASKS / "gpqa" / "zeroshot" / "_gpqa_zeroshot_yaml").read_text()
    template = json.loads(
        next(line for line in config.splitlines() if line.startswith("doc_to_text")).partition(": ")[2]
    )
    assert '["(A)", "(B)", "(C)", "(D)"]' in config
    rows = {row["Record ID"]: row for row in files.gpqa_rows()}
    for item in load_choices("gpqa", data, password=files.PASSWORD):
        row = rows[item.key]
        clean = [
            row[f].strip().replace(" [title]", ". ").replace("  ", " ")
            for f in ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
        ]
        listed = [line.partition(" ")[2] for line in item.context.splitlines() if line[:3] in item.choices]
        assert sorted(listed) == sorted(clean) and listed[item.gold] == clean[0]
        expected = template.replace("{{Question}}", row["Question"])
        for place, choice in enumerate(listed, 1):
            expected = expected.replace(f"{{{{choice{place}}}}}", choice)
        assert item.context == expected
