"""Answers of a run, item by item, without any text of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.files import read_text

ROLES = ("father", "mother", "child")


@dataclass(frozen=True)
class Mark:
    """One item as one model answered it.

    Attributes:
        key: hash of the item.
        slice: part of the benchmark.
        credit: 1 for right, 0 for wrong, a share for a tie.
    """

    key: str
    slice: str
    credit: float


Answers = Mapping[str, Mapping[str, Sequence[Mark]]]  # role -> benchmark -> items


def read_answers(folder: Path, problems: list[str]) -> Answers:
    """Answers of father, mother and child; ``problems`` gets a line for each file that cannot be read whole."""
    answers: dict[str, dict[str, list[Mark]]] = {}
    for role in ROLES:
        for path in sorted((folder / role).glob("*.jsonl")):
            marks, broken = _read(path)
            if broken:
                problems.append(
                    f"answers/{role}/{path.name}: {broken} of {broken + len(marks)} lines cannot be read and are left"
                    " out"
                )
            if marks:
                answers.setdefault(role, {})[path.stem] = marks
    return answers


def _read(path: Path) -> tuple[list[Mark], int]:
    marks, broken = [], 0
    for line in read_text(path, errors="replace").splitlines():
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
    """One item with the credit of child, father and mother.

    Attributes:
        key: hash of the item.
        slice: part of the benchmark.
        child: the child's credit.
        father: the father's credit; None where it did not answer.
        mother: the mother's credit; None where it did not answer.
    """

    key: str
    slice: str
    child: float
    father: float | None
    mother: float | None


def pair_items(answers: Answers, benchmark: str) -> list[Item]:
    """The child's items of a benchmark beside the parents' credits on the same items."""
    credits = {
        role: {mark.key: mark.credit for mark in answers.get(role, {}).get(benchmark, ())}
        for role in ("father", "mother")
    }
    return [
        Item(mark.key, mark.slice, mark.credit, credits["father"].get(mark.key), credits["mother"].get(mark.key))
        for mark in answers.get("child", {}).get(benchmark, ())
    ]


def count_wins_and_losses(items: Sequence[Item], parent: str) -> tuple[int, int]:
    """Items on which the child has more credit than the parent, and items on which it has less."""
    gaps = [item.child - other for item in items if (other := getattr(item, parent)) is not None]
    return sum(gap > 1e-9 for gap in gaps), sum(gap < -1e-9 for gap in gaps)
