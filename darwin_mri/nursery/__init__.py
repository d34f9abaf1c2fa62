"""Tiny trained parents that ship with the package, the world they were trained on, and the recipe."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MODELS = Path(__file__).parent / "models"
ROLES = {
    "gemma4-base": "common ancestor of the father line",
    "gemma4-korean": "father: strong in Korean culture",
    "gemma4-reasoning": "sibling: strong in stories and science",
    "qwen35-mother": "mother of another architecture and tokenizer",
}


def list_nursery() -> list[dict[str, str]]:
    """Name, folder, family, role and sha256 of the weights of every bundled model, sorted by name."""
    rows = []
    for folder in sorted(MODELS.glob("*")):
        if not (folder / "config.json").is_file():
            continue
        family = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
        weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        rows.append(
            {
                "name": folder.name,
                "path": str(folder),
                "family": family,
                "role": ROLES.get(folder.name, ""),
                "sha256": weights,
            }
        )
    return rows
