"""Sound inputs of every kind, made once: models, adapters, a GGUF file, texts, tasks, configs, a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

from tests.toys import pico

RECIPE = {
    "models": [
        {"model": "father", "parameters": {"weight": 1.0}},
        {"model": "mother", "parameters": {"weight": [0.1, 0.5], "density": 0.5}},
    ],
    "merge_method": "ties",
    "base_model": "base",
    "parameters": {"normalize": True, "int8_mask": True},
    "dtype": "bfloat16",
}
CONFIG = {
    "name": "toy",
    "father": "father",
    "mother": "mother",
    "base": "base",
    "method": "task_arithmetic",
    "tasks": {"exam": {"jsonl": "exam.jsonl"}, "text": {"nll": "text.txt", "passage": 200}},
    "fitness": {"exam": 1.0},
    "limits": {"text": {"against": "father", "worsen_by": 0.1}},
    "device": "cpu",
    "scan": {"languages": ["ko", "en"], "documents": 4, "max_tokens": 16, "bootstrap": 50, "positions": 64},
    "prior": {"items": 8, "steps": 1},
    "search": {"budget": 4, "population": 2, "items": 8, "finalists": 2, "baselines": []},
    "bench": {"tasks": ["exam", "text"], "items": 8, "harness": False},
}


def make_material(root: Path) -> Path:
    """Write all of it into a new folder; paths in configs are relative to it."""
    for seed, name in enumerate(("base", "father", "mother")):
        pico("llama", root / name, seed=seed, dtype="bfloat16", max_shard_size="60KB", num_hidden_layers=2)
    _write_texts(root)
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    _write_adapter(root)
    _write_gguf(root)
    words = ("breed", "--config", "config.yaml", "--out", "run", "--quiet")
    subprocess.run([sys.executable, "-m", "darwin_mri", *words], cwd=root, check=True, capture_output=True)
    return root


def _write_texts(root: Path) -> None:
    items = [
        {
            "question": f"What is {i} and {i % 5 + 1}?",
            "choices": [str(i), str(i + i % 5 + 1), "none"],
            "answer": 1,
            "cluster": i,
        }
        for i in range(40)
    ]
    (root / "exam.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n", encoding="utf-8")
    (root / "exam.csv").write_text(
        "question,choices,answer\n" + "".join(f'"How many? {i}","one|two|three",two\n' for i in range(24)),
        encoding="utf-8",
    )
    (root / "text.txt").write_text(
        "\n\n".join(f"Paragraph {i}. 물은 차갑다. It rains." for i in range(40)), encoding="utf-8"
    )
    (root / "probes").mkdir()
    probes = [
        {"text": f"{text} {i}", "language": language, "domain": "prose", "doc": f"d{i}", "pair": f"p{i}"}
        for language, text in (("en", "The river is cold in spring"), ("ko", "봄에는 강물이 차다"))
        for i in range(4)
    ]
    (root / "probes" / "own.jsonl").write_text("\n".join(map(json.dumps, probes)) + "\n", encoding="utf-8")


def _write_adapter(root: Path) -> None:
    from tests.checkpoints.unpacking.test_adapters import LINEAR, peft_model, save

    save(peft_model(root / "base", 5, r=2, target_modules=LINEAR), root / "adapter")


def _write_gguf(root: Path) -> None:
    from tests.checkpoints.unpacking.gguf_files import write_gguf

    write_gguf(root / "father", root / "father.gguf", "llama", "F16")
