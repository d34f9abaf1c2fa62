"""Texts as fitness and as a limit on the nursery's siblings: does the child beat both parents, is the limit kept?

    python -m experiments.text_tasks --out FILE

Korean and English documents about the nursery's world are written to a scratch folder. Four runs of korean x reasoning
(layers, flat start, 24 candidates, 40 search and 60 held-out passages): fitness by the NLL of both languages, by
agreement with the better parent on them, by the NLL of the English ones alone, and that with a limit of .01 nats per
byte on the Korean ones against the father. Run by hand, not by pytest: some five minutes on a free core.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from darwin_mri import pipeline
from darwin_mri.config import make_config
from darwin_mri.nursery.world import World
from darwin_mri.records import Comparison
from darwin_mri.stats.limits import limit_sentence

SEED, DOCUMENTS = 5, 150
RUNS: dict[str, dict[str, Any]] = {
    "nll of both": {"fitness": {"both": 1.0}},
    "agreement on both": {"fitness": {"alike": 1.0}},
    "nll of English": {"fitness": {"english": 1.0}},
    "nll of English, Korean limited": {
        "fitness": {"english": 1.0},
        "limits": {"korean": {"against": "father", "worsen_by": 0.01}},
    },
}


def write_texts(folder: Path) -> dict[str, dict[str, Any]]:
    """Documents about the world, and the tasks that read them."""
    world, rng = World(), random.Random(SEED)
    korean = list(dict.fromkeys(islice(world.fact_documents(rng, world.korean_facts), DOCUMENTS)))
    english = list(dict.fromkeys(islice(world.story_documents(rng, list(world.habits)), DOCUMENTS)))
    for name, texts in (("korean", korean), ("english", english), ("both", korean[:80] + english[:80])):
        rows = (json.dumps({"text": text}, ensure_ascii=False) for text in texts)
        (folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    tasks: dict[str, dict[str, Any]] = {
        name: {"nll": str(folder / f"{name}.jsonl")} for name in ("korean", "english", "both")
    }
    return {**tasks, "alike": {"agreement": str(folder / "both.jsonl")}}


def measure(name: str, tasks: dict[str, dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Breed one child; what it and its parents score on held-out passages."""
    chosen = {**RUNS[name]["fitness"], "korean": 1.0}
    config = make_config(
        {
            "parents": ["nursery:gemma4-korean", "nursery:gemma4-reasoning"],
            "base": "nursery:gemma4-base",
            "tasks": {task: tasks[task] for task in chosen},
            "bench": {"tasks": list(chosen), "items": 60, "harness": False},
            "prior": {"preset": "flat", "protect": []},
            "scan": {"languages": ["ko", "en"], "documents": 4, "max_tokens": 64, "mixers": False},
            "search": {"budget": 24, "population": 8, "items": 40},
            **RUNS[name],
        },
        name,
    )
    comparison: Comparison = pipeline.breed(config, folder / name.replace(" ", "-"), force=True).comparison
    scores: dict[str, dict[str, float]] = {}
    for score in comparison.scores:
        if score.slice == "all" and score.benchmark in chosen:
            scores.setdefault(score.benchmark, {})[score.role] = round(score.value, 4)
    return {
        "scores": scores,
        "limits": [limit_sentence(check) for check in comparison.limits],
        "vigor": comparison.vigor and comparison.vigor.sentence,
        "korean": next(
            [c.difference, c.low, c.high]
            for c in comparison.contrasts
            if (c.benchmark, c.other) == ("korean", "father")
        ),
    }


def main() -> int:
    """Measure every run and print it; with --out also as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file, written after every run")
    options, results = parser.parse_args(), {}
    with tempfile.TemporaryDirectory() as scratch:
        tasks = write_texts(Path(scratch))
        for name in RUNS:
            results[name] = measure(name, tasks, Path(scratch))
            print(name, json.dumps(results[name], ensure_ascii=False), flush=True)
            if options.out:
                options.out.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
