"""Across architectures on real models: Gemma 3 270M learns what a specialist of SmolLM2 135M knows, in the arena.

    python -m proving.crossing --out reports/proving-crossing     # hours; resumable

Writes questions (held-out wordings), prompts (training wordings, cut where the answer would follow) and the arena's
config, then runs it; resumable. The second task is knowledge that the father has of its own, which is to stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.arena import load_arena, run_arena
from darwin_mri.checkpoints.products import use_fast_products
from darwin_mri.cli.console import ConsoleProgress, stdout
from darwin_mri.report import print_arena, write_arena
from proving.bases import fetch_base
from proving.specialists import ADAPTERS, base_file
from proving.subjects import SUBJECTS
from proving.subjects.subject import FactSubject, split_statement

KEPT = "countries"  # the father's own subject
LAYERS = [3, 4, 5]  # chosen on search items of seed 1 and the subject villages (docs/LOG.md)
PROTECTED = "prose"  # the domain of prompts that the father completes


def write_inputs(folder: Path, subject: str, wordings: int, seeds: Sequence[int] = (1, 2, 3)) -> Path:
    """Questions, prompts and config of the crossing.

    Args:
        folder: gets them.
        subject: that the mother was trained on.
        wordings: of each fact that the parents complete.
        seeds: of the arena.

    Returns:
        The config's path.
    """
    for name in (subject, KEPT):
        rows = (
            {
                "id": item.key,
                "context": item.context,
                "choices": item.choices,
                "answer": item.gold,
                "cluster": item.cluster,
                "slice": item.slice,
            }
            for item in SUBJECTS[name].items()
        )
        _write_rows(folder / f"{name}.jsonl", rows)
    for name in (subject, KEPT):
        _write_rows(folder / "prompts" / f"{name}.jsonl", _prompts(name, wordings))
    path = folder / "arena.yaml"
    path.write_text(yaml.safe_dump(_config(folder, subject, seeds), sort_keys=False), encoding="utf-8")
    return path


def _prompts(subject: str, wordings: int) -> Iterable[dict[str, str]]:
    known = SUBJECTS[subject]
    assert isinstance(known, FactSubject)
    for fact in known.facts():
        for number, statement in enumerate(fact.statements[:wordings]):
            prompt, _ = split_statement(statement, fact.answer)
            doc = f"{fact.key}-{number}"
            domain = PROTECTED if subject == KEPT else "knowledge"
            yield {"text": prompt, "language": "en", "domain": domain, "doc": doc, "pair": f"{subject}-{fact.key}"}


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _config(folder: Path, subject: str, seeds: Sequence[int]) -> dict[str, Any]:
    writing = {"trust": "agreement", "new_tokens": 3}
    arm = {**writing, "place": "subject", "layers": LAYERS, "documents": 16, "ridge": 0.01}
    at_answer = {**writing, "target": "nearest", "documents": 6, "held_rows": 1.0}  # as on the nursery's pairs
    father, base = str(fetch_base("gemma3")), base_file()
    return {
        "name": f"gemma3-{subject}",
        "father": father,
        "mother": f"{base}+{(ADAPTERS / subject).resolve()}",
        "ignorant": base,
        "arms": {
            "subject": {"method": "competence", "arm": arm},
            "retrieval": {"method": "retrieval", "nulls": False, "arm": arm},
            "lora": {
                "method": "finetune",
                "train": "lora",
                "nulls": False,
                "steps": 20,
                "learning_rate": [0.001, 0.003],
                "arm": arm,
            },
            "answer": {"method": "competence", "nulls": False, "arm": at_answer},
        },
        "nulls": ["random", "shuffled", "ignorant"],
        "ratios": [0.5, 1.0, 1.5],
        "seeds": list(seeds),
        "search_items": 80,
        "search_share": 0.3,
        "protect": [PROTECTED],
        "prompts": str(folder / "prompts"),
        "tasks": {subject: 1.0, KEPT: 1.0},
        "own": {name: {"jsonl": str(folder / f"{name}.jsonl")} for name in (subject, KEPT)},
    }


def main() -> None:
    """Write the inputs and run the arena."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/proving-crossing"))
    parser.add_argument("--subject", default="villages", help="of the specialist that is the mother")
    parser.add_argument("--wordings", type=int, default=4, help="of each fact that the parents complete")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of splits, prompts and texts")
    options = parser.parse_args()
    use_fast_products()
    config = load_arena(write_inputs(options.out.resolve(), options.subject, options.wordings, options.seeds))
    result = run_arena(config, options.out, offline=True, progress=ConsoleProgress(False))
    write_arena(result, options.out)
    print_arena(stdout, result)


if __name__ == "__main__":
    main()
