"""What was measured, a line each, so that an interrupted table goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One row at one seed and one number of parents.

    Attributes:
        chosen: ratio, settings or genes, and how they were found.
        pool: the smooth fitness on all items that choices may be made by.
        credits: of every held-out item, in the bench's order.
        smooth: the smooth fitness on the held-out items.
        seconds: of the processor, one thread, for making the child; asking it the held-out items is left out.
        asked: item evaluations of the choice; a gradient counts as three.
    """

    chosen: dict[str, Any] = field(default_factory=dict[str, Any])
    pool: float = 0.0
    credits: tuple[float, ...] = ()
    smooth: float = 0.0
    seconds: float = 0.0
    asked: int = 0


class Cells:
    """The cells of a file, by what they follow from.

    Args:
        path: JSON lines; a last line cut short by a kill is dropped.
        inputs: seed -> what its cells follow from: siblings, base and sizes.
        made_by: row -> fingerprint of what measures it; a cell made by anything else is not known.
    """

    def __init__(self, path: Path, inputs: Mapping[int, object], made_by: Mapping[str, str] | None = None) -> None:
        self.path, self.made_by = path, dict(made_by or {})
        self.identities = {
            seed: hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]
            for seed, own in inputs.items()
        }
        self.known: dict[tuple[int, int, str], Cell] = {}
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        for line in map(json.loads, lines):
            if (line["inputs"], line["made_by"]) == self._identity(line["seed"], line["row"]):
                own = {**line["cell"], "credits": tuple(line["cell"]["credits"])}
                self.known[line["seed"], line["parents"], line["row"]] = Cell(**own)

    def put(self, seed: int, parents: int, row: str, cell: Cell) -> None:
        """Keep a cell, in memory and on disk."""
        self.known[seed, parents, row] = cell
        self.path.parent.mkdir(parents=True, exist_ok=True)
        inputs, made_by = self._identity(seed, row)
        place = {"inputs": inputs, "made_by": made_by, "seed": seed, "parents": parents, "row": row}
        line = {**place, "cell": asdict(cell)}
        with self.path.open("a+b") as stream:
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)  # after the last whole line
            stream.write(json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _identity(self, seed: int, row: str) -> tuple[str | None, str]:
        return self.identities.get(seed), self.made_by.get(row, "")
