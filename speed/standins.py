"""Stand-in items in the fields and at the lengths of CLIcK and MuSR, for models whose answers mean nothing.

Their texts are words of the packaged probe texts in random order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from darwin_mri.probes import load_probes

# Tokens of an item as the parents' own tokenizers count them (``TOKENS`` in ``darwin_mri.planning.activations``),
# less those of the template and of the choices.
QUESTION, STORY = 200, 1050
ITEMS = {"click": 240, "musr": 80}  # musr: of each of its three tasks
PLACES = ("attic", "cellar", "garden", "kitchen")


def write_standins(folder: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    """Write ``click/click.jsonl`` and ``musr/*.jsonl``, as ``--data`` expects them; ``tokenizer`` counts lengths."""
    words = {language: _words(language, tokenizer) for language in ("ko", "en")}
    draw = random.Random(1)
    click = [_click(n, words["ko"](QUESTION, draw), draw) for n in range(ITEMS["click"])]
    _write(folder / "click" / "click.jsonl", click)
    for task in ("murder_mysteries", "object_placements", "team_allocation"):
        stories = [_musr(words["en"](STORY, draw), n) for n in range(ITEMS["musr"])]
        _write(folder / "musr" / f"{task}.jsonl", stories)
    return folder


def _click(number: int, text: str, draw: random.Random) -> dict[str, Any]:
    choices = [f"{number} {letter}" for letter in "가나다라"]
    return {
        "id": f"KIIP_society_{number}",
        "paragraph": "",
        "question": text,
        "choices": choices,
        "answer": draw.choice(choices),
        "category": "Culture",
        "subcategory": "Korean Society",
    }


def _musr(text: str, number: int) -> dict[str, Any]:
    choices = [f"{place} {number}" for place in PLACES[: 2 + number % 3]]
    return {"narrative": text, "question": "Where?", "choices": str(choices), "answer_index": number % 2}


def _words(language: str, tokenizer: PreTrainedTokenizerBase) -> Callable[[int, random.Random], str]:
    """Draws words until they have so many tokens."""
    known = sorted({word for probe in load_probes() if probe.language == language for word in probe.text.split()})
    lengths = [len(ids) for ids in tokenizer([f" {word}" for word in known], add_special_tokens=False)["input_ids"]]

    def text(tokens: int, draw: random.Random) -> str:
        chosen: list[str] = []
        while tokens > 0:
            number = draw.randrange(len(known))
            chosen.append(known[number])
            tokens -= lengths[number]
        return " ".join(chosen)

    return text


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
