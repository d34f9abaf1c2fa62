"""A pico family and a config small enough to breed in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from darwin_mri.config import Config, make_config
from tests.toys import pico_gemma4, pico_qwen35


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Role -> folder: a father, a sister of its architecture, their base, and a mother of another architecture."""
    root = tmp_path_factory.mktemp("family")
    siblings = {
        name: pico_gemma4(root / name, seed=i, dtype="bfloat16") for i, name in enumerate(("father", "sister", "base"))
    }
    return {**siblings, "mother": pico_qwen35(root / "mother", seed=9, dtype="bfloat16")}


def small(family: dict[str, Path], **changes: Any) -> Config:
    """A config of father and sister with few items and texts; ``changes`` replace fields, a mapping those it names."""
    data: dict[str, Any] = {
        "name": "toy",
        "father": str(family["father"]),
        "mother": str(family["sister"]),
        "base": str(family["base"]),
        "fitness": {"nursery_click": 0.6, "nursery_musr": 0.4},
        "device": "cpu",
        "scan": {"languages": ["ko", "en"], "documents": 4, "max_tokens": 16, "bootstrap": 50, "positions": 64},
        "prior": {"items": 8, "steps": 1},
        "search": {"budget": 6, "population": 4, "items": 8, "finalists": 2},
        "bench": {"tasks": ["nursery_click", "nursery_musr"], "items": 8, "harness": False},
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and isinstance(data.get(key), dict) else value
    return make_config(data, "test")
