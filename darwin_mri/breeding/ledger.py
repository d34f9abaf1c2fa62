"""What a search leaves on disk: the ledger, one line per candidate, and beside it the outcome of every block of items.

Both are appended and forced to disk, so a killed search loses at most the block under way. A resumed search looks in
the blocks' file first and so comes to the same lines; the ledger's own lines are compared with them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from darwin_mri.breeding.workers import Outcome, Task
from darwin_mri.errors import DarwinError
from darwin_mri.files import writing
from darwin_mri.records import LedgerLine

Line = TypeVar("Line", bound=BaseModel)


class BlockLine(BaseModel):
    """One task's outcome, scores only: no item text.

    Attributes:
        generation: the candidate's generation.
        candidate: its number within the generation.
        block: number of the block.
        genes: the candidate's, by name.
        scores: benchmark -> the score of each item of the block; None where the candidate failed.
        seconds: it took.
        reason: why it failed.
    """

    generation: int
    candidate: int
    block: int
    genes: dict[str, float]
    scores: dict[str, list[float]] | None
    seconds: float
    reason: str = ""


class Ledger:
    """Append-only JSON lines. A last line cut short by a kill is dropped on reading and overwritten.

    Args:
        path: of the ledger.
        blocks: path of the blocks' file; none is kept when None.

    Attributes:
        lines: candidates of this search so far.
        before: lines that the file held when it was opened.
        blocks: (generation, candidate, block) -> that block's line, in the order of the file.
    """

    def __init__(self, path: Path, blocks: Path | None = None) -> None:
        self.path, self.blocks_path = path, blocks
        self.lines: list[LedgerLine] = []
        self.before = _read(path, LedgerLine.model_validate_json)
        known = _read(blocks, BlockLine.model_validate_json) if blocks else []
        self.blocks = {(line.generation, line.candidate, line.block): line for line in known}
        self._evaluated = {_content(line): line for line in known}

    def known(self, task: Task) -> Outcome | None:
        """A task's outcome in an earlier part of this search; None where it has none.

        Raises:
            DarwinError: the files belong to another search.
        """
        line = self.blocks.get(task.key)
        if line is None:
            return None
        self._require_same(line.genes, task.genes, self.blocks_path or self.path)
        return Outcome(task, line.scores, line.seconds, line.reason)

    def equal(self, task: Task) -> Outcome | None:
        """The outcome of another candidate with the same genes on the same block, in no time; None where there is none.

        An outcome depends on genes and block alone.
        """
        line = self._evaluated.get(_content(task))
        return None if line is None else Outcome(task, line.scores, 0.0, line.reason)

    def keep(self, outcome: Outcome) -> None:
        """Write one block's outcome."""
        task = outcome.task
        line = BlockLine(
            generation=task.generation,
            candidate=task.candidate,
            block=task.block,
            genes=dict(task.genes),
            scores=outcome.scores,
            seconds=outcome.seconds,
            reason=outcome.reason,
        )
        self.blocks[task.key] = line
        self._evaluated.setdefault(_content(task), line)
        if self.blocks_path:
            _append(self.blocks_path, line)

    def append(self, line: LedgerLine) -> LedgerLine:
        """Write a candidate's line, unless the file has it from an earlier part of this search.

        Returns:
            The line that holds: the file's own where it has one.

        Raises:
            DarwinError: the ledger belongs to another search.
        """
        number = len(self.lines)
        if number < len(self.before):
            old = self.before[number]
            self._require_same(old.genes, line.genes, self.path)
            if (old.generation, old.candidate) != (line.generation, line.candidate):
                self._refuse(self.path)
            line = old
        else:
            _append(self.path, line)
        self.lines.append(line)
        return line

    def _require_same(self, old: dict[str, float], new: object, path: Path) -> None:
        if old != new:
            self._refuse(path)

    def refuse(self) -> NoReturn:
        """Raise DarwinError: the blocks are those of another search."""
        self._refuse(self.blocks_path or self.path)

    def _refuse(self, path: Path) -> NoReturn:
        raise DarwinError(
            f"{path.name} does not belong to this search (other config, seed or parents): resume with the config"
            " the run was started with, or start a new run"
        )


def _content(task: Task | BlockLine) -> tuple[int, tuple[tuple[str, float], ...]]:
    """All that the scores of a task depend on."""
    return task.block, tuple(task.genes.items())


def _read(path: Path, parse: Callable[[bytes], Line]) -> list[Line]:
    lines: list[Line] = []
    if not path.is_file():
        return lines
    good = 0
    with path.open("rb") as stream:
        for raw in stream:
            try:
                if not raw.endswith(b"\n"):
                    break
                lines.append(parse(raw))
            except ValidationError:
                break
            good += len(raw)
    os.truncate(path, good)
    return lines


def _append(path: Path, line: BaseModel) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
