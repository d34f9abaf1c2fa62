"""Task files of lm-eval over local JSON, of every output type, and their documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

COLOURS = ["red", "dark blue", "green as grass"]
CHOICES: dict[str, Any] = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}} Answer:",
    "doc_to_target": "right",
    "doc_to_choice": "colours",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm", "acc_bytes", "exact_match")
    ],
}
WRITTEN: dict[str, Any] = {
    "output_type": "generate_until",
    "doc_to_text": "{{question}} Answer:",
    "doc_to_target": "answer",
    "generation_kwargs": {"until": ["e", "\n"], "max_gen_toks": 6, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
TASKS: dict[str, dict[str, Any]] = {
    "choices": CHOICES,
    "choices_template": {**CHOICES, "doc_to_choice": "{{['red', 'dark blue', answer + '!']}}", "target_delimiter": ""},
    "choices_list": {
        **CHOICES,
        "doc_to_choice": ["red", "dark blue", "green as grass"],
        "doc_to_target": "answer",
        "num_fewshot": 2,
        "description": "Colours.\n\n",
        "metric_list": [{"metric": "acc_mutual_info", "aggregation": "mean", "higher_is_better": True}]
        + CHOICES["metric_list"],
    },
    "inputs": {
        **CHOICES,
        "doc_to_text": "right",
        "doc_to_choice": "{{[question + ' red', question + ' dark blue', question + ' green']}}",
        "doc_to_target": "{{'. So it is.'}}",
    },
    "over_all": {
        **CHOICES,
        "doc_to_choice": ["red", "not red"],
        "doc_to_target": "{{1 if right else 0}}",
        "metric_list": [
            {"metric": "f1", "aggregation": "f1", "higher_is_better": True},
            {"metric": "mcc", "aggregation": "matthews_corrcoef", "higher_is_better": True},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    },
    "last_word": {
        "output_type": "loglikelihood",
        "doc_to_text": "{{question}} It is ",
        "doc_to_target": "{{answer}}",
        "metric_list": [
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        ],
    },
    "texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [
            {"metric": "word_perplexity"},
            {"metric": "byte_perplexity"},
            {"metric": "bits_per_byte"},
        ],
    },
    "long_texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text * 9}}",
        "metric_list": [{"metric": "bits_per_byte"}],
    },
    "written": {**WRITTEN, "num_fewshot": 1},
    "filtered": {
        **WRITTEN,
        "repeats": 3,
        "generation_kwargs": {"until": ["\n\n", "\n"], "max_gen_toks": 8},
        "filter_list": [
            {
                "name": "word",
                "filter": [{"function": "regex", "regex_pattern": "([a-z]+)"}, {"function": "take_first"}],
            },
            {"name": "votes", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]},
        ],
    },
}


def documents(count: int, thing: str = "thing") -> list[dict[str, Any]]:
    return [
        {
            "question": f"Which colour has {thing} {number}?",
            "colours": COLOURS,
            "right": number % 3,
            "answer": COLOURS[number % 3],
            "passage": f"p{number // 2}",
            "text": f"Thing {number} is {COLOURS[number % 3]}. " * (1 + 3 * (number % 2)),
        }
        for number in range(count)
    ]


def write_data(folder: Path, count: int) -> None:
    """So many documents, and five to take examples from."""
    folder.mkdir(exist_ok=True)
    for name, rows in (("docs", documents(count)), ("examples", documents(5, "example"))):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def write_task(folder: Path, name: str, **settings: Any) -> Path:
    files = {"test": str(folder / "docs.jsonl"), "train": str(folder / "examples.jsonl")}
    data = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "fewshot_split": "train",
        "metadata": {"version": 2.0},
        **settings,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}), encoding="utf-8")
    return path


def with_code(folder: Path, name: str, mark: Path, **settings: Any) -> Path:
    """A task whose documents go through code.py beside it, which leaves a mark when it is imported."""
    code = f"from pathlib import Path\nPath({str(mark)!r}).touch()\ndef docs(data):\n    return data\n"
    (folder / "code.py").write_text(code, encoding="utf-8")
    path = write_task(folder, name, **{"process_docs": "!function code.docs", **settings})
    tagged = re.sub(r"'(!function [\w.]+)'", r"\1", path.read_text(encoding="utf-8"))
    path.write_text(tagged, encoding="utf-8")
    return path
