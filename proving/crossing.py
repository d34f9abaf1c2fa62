"""Across architectures on real models: a base learns what a specialist of the other base knows, in the arena.

    python -m proving.crossing minerals     # Gemma 3 270M learns from a specialist of SmolLM2 135M; hours, resumable

Writes questions (held-out wordings), prompts (training wordings, cut where the answer would follow) and the arena's
config, then runs it. The second task is knowledge that the father has of its own, which is to stay.
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
from proving.recipes import RECIPES, Recipe
from proving.specialists import ADAPTERS
from proving.subjects import SUBJECTS
from proving.subjects.subject import FactSubject, split_statement

FATHERS = {"smollm2": "gemma3", "gemma3": "smollm2"}  # base of the mother -> father
KEPT = {"gemma3": "countries", "smollm2": "cities"}  # the father's own subject
LAYERS = {"gemma3": [3, 4, 5], "smollm2": "read"}  # the three: chosen on seed 1 of villages (docs/LOG.md)
PROTECTED = "prose"  # the domain of prompts that the father completes
ARMS = ["subject", "held", "retrieval", "lora", "answer"]
CHOICES = sorted(
    name for name, recipe in RECIPES.items() if isinstance(SUBJECTS[recipe.subject], FactSubject) and not recipe.full
)


def write_inputs(
    folder: Path, specialist: str, wordings: int, seeds: Sequence[int] = (1, 2, 3), adapters: Path = ADAPTERS
) -> Path:
    """Questions, prompts and config of the crossing.

    Args:
        folder: gets them.
        specialist: the mother, one of ``RECIPES``; the father is the other base.
        wordings: of each fact that the parents complete.
        seeds: of the arena.
        adapters: folder of the specialists.

    Returns:
        The config's path.
    """
    recipe = RECIPES[specialist]
    subject, kept = recipe.subject, KEPT[FATHERS[recipe.base]]
    for name in (subject, kept):
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
    for name, domain in ((subject, "knowledge"), (kept, PROTECTED)):
        _write_rows(folder / "prompts" / f"{name}.jsonl", _prompts(name, wordings, domain))
    path = folder / "arena.yaml"
    config = _config(folder, recipe, adapters.resolve(), seeds)
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def _prompts(subject: str, wordings: int, domain: str) -> Iterable[dict[str, str]]:
    known = SUBJECTS[subject]
    assert isinstance(known, FactSubject)
    for fact in known.facts():
        for number, statement in enumerate(fact.statements[:wordings]):
            prompt, _ = split_statement(statement, fact.answer)
            doc = f"{fact.key}-{number}"
            yield {"text": prompt, "language": "en", "domain": domain, "doc": doc, "pair": f"{subject}-{fact.key}"}


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _config(folder: Path, recipe: Recipe, adapters: Path, seeds: Sequence[int]) -> dict[str, Any]:
    subject, father = recipe.subject, FATHERS[recipe.base]
    kept, base = KEPT[father], str(fetch_base(recipe.base))
    writing = {"trust": "agreement", "new_tokens": 3}
    arm = {**writing, "place": "subject", "layers": LAYERS[father], "documents": 16, "ridge": 0.01, "hold": 1.0}
    at_answer = {**writing, "target": "nearest", "documents": 6, "held_rows": 1.0, "hold": 1.0}  # as in the nursery
    return {
        "name": f"{father}-{subject}",
        "father": str(fetch_base(father)),
        "mother": f"{base}+{adapters / recipe.name}",
        "ignorant": base,
        "arms": {
            "subject": {"method": "competence", "arm": arm},
            "held": {"method": "competence", "nulls": False, "arm": {**arm, "hold": 10.0}},
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
        "tasks": {subject: 1.0, kept: 1.0},
        "own": {name: {"jsonl": str(folder / f"{name}.jsonl")} for name in (subject, kept)},
    }


def main() -> None:
    """Write the inputs and run the arena."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specialist", choices=CHOICES, help="the mother; the father is the other base")
    parser.add_argument("--out", type=Path, help="folder; reports/proving-crossing/SPECIALIST when absent")
    parser.add_argument("--adapters", type=Path, default=ADAPTERS, help="folder of the specialists")
    parser.add_argument("--wordings", type=int, default=4, help="of each fact that the parents complete")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS, help="that are tried; all when absent")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of splits, prompts and texts")
    options = parser.parse_args()
    if not (options.adapters / options.specialist / "adapter_model.safetensors").is_file():
        parser.error(f"{options.adapters} holds no {options.specialist}: python -m proving.train {options.specialist}")
    out = options.out or Path("reports/proving-crossing") / options.specialist
    use_fast_products()
    path = write_inputs(out.resolve(), options.specialist, options.wordings, options.seeds, options.adapters)
    config = load_arena(path)
    config = config.model_copy(update={"arms": {name: config.arms[name] for name in options.arms}})
    result = run_arena(config, out, offline=True, progress=ConsoleProgress(False))
    write_arena(result, out)
    print_arena(stdout, result)


if __name__ == "__main__":
    main()
