"""What a long stage has measured so far, kept as it goes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from darwin_mri.files import writing
from darwin_mri.records import write_text

CacheKey = tuple[str | int | float, ...]
"""Where a value was measured: a loss, a layer, ratios."""


class MeasurementCache:
    """Arrays by where they were measured, one JSON line each, so that an interrupted stage goes on where it was.

    Args:
        path: the file.
        key: what is measured (models, texts, device); a file of anything else is begun anew.
        keep: read what is there.
    """

    def __init__(self, path: Path, key: str, keep: bool) -> None:
        self.path = path
        self.known: dict[CacheKey, np.ndarray] = {}
        if keep and path.is_file():
            self._read(key)
        if not self.known:
            write_text(path, json.dumps({"key": key}) + "\n")

    def _read(self, key: str) -> None:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        try:
            rows = [json.loads(line) for line in lines]
        except ValueError:  # the last line was cut short
            rows = [json.loads(line) for line in lines[:-1]]
        if rows and rows[0] == {"key": key}:
            self.known = {tuple(row["where"]): np.array(row["values"]) for row in rows[1:]}
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in rows))

    def get(self, where: CacheKey) -> np.ndarray | None:
        """What was measured there; None where nothing was."""
        return self.known.get(where)

    def put(self, where: CacheKey, values: np.ndarray) -> None:
        """Keep what was measured there."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"where": where, "values": values.tolist()}) + "\n")
        self.known[where] = values
