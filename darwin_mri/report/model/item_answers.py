"""Answers of a run, item by item, without any text of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.files import read_text
from darwin_mri.records.roles import PARENTS
from darwin_mri.translation import say

ROLES = (*PARENTS, "child")
RIGHT = 0.5  # credit from which on an answer counts as right


@dataclass(frozen=True)
class Mark:
    """One item as one model answered it.

    Attributes:
        key: hash of the item.
        slice: part of the benchmark.
        credit: 1 for right, 0 for wrong, a share for a tie; of tasks without right answers the score.
    """

    key: str
    slice: str
    credit: float


Answers = Mapping[str, Mapping[str, Sequence[Mark]]]  # role -> benchmark -> items


def read_answers(folder: Path, problems: list[str]) -> Answers:
    """Answers of the parents and the child; ``problems`` gets a line for each file that cannot be read whole."""
    answers: dict[str, dict[str, list[Mark]]] = {}
    for role in ROLES:
        for path in sorted((folder / role).glob("*.jsonl")):
            marks, broken = _read(path)
            if broken:
                problems.append(
                    say(
                        "answers/{role}/{file}: {broken} of {lines} lines cannot be read and are left out",
                        role=role,
                        file=path.name,
                        broken=broken,
                        lines=broken + len(marks),
                    )
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
    """One item with the credit of the child and of each parent.

    Attributes:
        key: hash of the item.
        slice: part of the benchmark.
        child: the child's credit.
        parents: role -> credit of each parent that answered it.
    """

    key: str
    slice: str
    child: float
    parents: Mapping[str, float]

    @property
    def right(self) -> bool:
        """Whether the child's answer counts as right."""
        return self.child >= RIGHT

    @property
    def knowing(self) -> frozenset[str]:
        """Roles of the parents whose answer counts as right."""
        return frozenset(role for role, credit in self.parents.items() if credit >= RIGHT)


def answering_parents(answers: Answers) -> list[str]:
    """Roles of the parents that have answers."""
    return [role for role in PARENTS if answers.get(role)]


def pair_items(answers: Answers, benchmark: str) -> list[Item]:
    """The child's items of a benchmark beside the parents' credits on the same items."""
    credits = {
        role: {mark.key: mark.credit for mark in answers[role].get(benchmark, ())}
        for role in answering_parents(answers)
    }
    return [
        Item(
            mark.key,
            mark.slice,
            mark.credit,
            {role: known[mark.key] for role, known in credits.items() if mark.key in known},
        )
        for mark in answers.get("child", {}).get(benchmark, ())
    ]


def are_fractions(items: Sequence[Item]) -> bool:
    """Whether every credit lies between wrong and right: a negated NLL does not."""
    return all(0 <= credit <= 1 for item in items for credit in (item.child, *item.parents.values()))


def count_wins_and_losses(items: Sequence[Item], parent: str) -> tuple[int, int]:
    """Items on which the child has more credit than the parent, and items on which it has less."""
    gaps = [item.child - item.parents[parent] for item in items if parent in item.parents]
    return sum(gap > 1e-9 for gap in gaps), sum(gap < -1e-9 for gap in gaps)
