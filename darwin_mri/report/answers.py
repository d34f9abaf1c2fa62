"""Answers of a run, item by item: who was right where, without any text of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROLES = ("father", "mother", "child")


@dataclass(frozen=True)
class Mark:
    """One item as one model answered it; ``credit`` is 1 for right, 0 for wrong, a share for a tie."""

    key: str
    slice: str
    credit: float


Answers = Mapping[str, Mapping[str, Sequence[Mark]]]  # role -> benchmark -> items


def read_answers(folder: Path, problems: list[str]) -> Answers:
    """The answers of father, mother and child in ``folder``; lines that cannot be read are counted in ``problems``."""
    found: dict[str, dict[str, list[Mark]]] = {}
    for role in ROLES:
        for path in sorted((folder / role).glob("*.jsonl")):
            marks, broken = _read(path)
            if broken:
                problems.append(
                    f"answers/{role}/{path.name}: {broken} of {broken + len(marks)} lines cannot be read and are left out"
                )
            if marks:
                found.setdefault(role, {})[path.stem] = marks
    return found


def _read(path: Path) -> tuple[list[Mark], int]:
    marks, broken = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            data = json.loads(line)
            marks.append(Mark(str(data["key"]), str(data.get("slice", "all")), float(data["credit"])))
        except (ValueError, KeyError, TypeError, AttributeError):
            broken += 1
    return marks, broken


@dataclass(frozen=True)
class Item:
    """One item with the credit of child, father and mother; a model that was not asked has None."""

    key: str
    slice: str
    child: float
    father: float | None
    mother: float | None


def paired(answers: Answers, benchmark: str) -> list[Item]:
    """The child's items of a benchmark beside the parents' credits on the same items."""
    credits = {
        role: {mark.key: mark.credit for mark in answers.get(role, {}).get(benchmark, ())}
        for role in ("father", "mother")
    }
    return [
        Item(mark.key, mark.slice, mark.credit, credits["father"].get(mark.key), credits["mother"].get(mark.key))
        for mark in answers.get("child", {}).get(benchmark, ())
    ]


def won_and_lost(items: Sequence[Item], parent: str) -> tuple[int, int]:
    """Items on which the child has more credit than the parent, and items on which it has less."""
    gaps = [item.child - other for item in items if (other := getattr(item, parent)) is not None]
    return sum(gap > 1e-9 for gap in gaps), sum(gap < -1e-9 for gap in gaps)
