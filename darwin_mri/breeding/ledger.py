"""The ledger: one line per evaluation, appended and flushed, so that a killed search loses at most the one under way."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from darwin_mri.records import LedgerLine


class Ledger:
    """Append-only JSON lines. A last line cut short by a kill is dropped on reading and overwritten."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[LedgerLine] = []
        if path.is_file():
            self._read()

    def _read(self) -> None:
        good = 0
        with self.path.open("rb") as stream:
            for raw in stream:
                try:
                    if not raw.endswith(b"\n"):
                        break
                    self.lines.append(LedgerLine.model_validate_json(raw))
                except ValidationError:
                    break
                good += len(raw)
        os.truncate(self.path, good)

    def append(self, line: LedgerLine) -> None:
        """Write one line and force it to disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self.lines.append(line)
