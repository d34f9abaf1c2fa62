"""What a search leaves on disk: the ledger, one line per candidate, and beside it the outcome of every block of items.

Both are appended and forced to disk, so a killed search loses at most the block under way. A resumed search looks in
the blocks' file first and so comes to the same lines; the ledger's own lines are compared with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from darwin_mri.breeding.block_file import BlockFile, append_line, read_lines
from darwin_mri.breeding.workers import Outcome, Task
from darwin_mri.errors import DarwinError
from darwin_mri.records import LedgerLine


class Ledger:
    """Append-only JSON lines. A last line cut short by a kill is dropped on reading and overwritten.

    Args:
        path: of the ledger.
        blocks: path of the blocks' file; none is kept when None.

    Attributes:
        lines: candidates of this search so far.
        before: lines that the file held when it was opened.
        blocks: outcomes of this search, and of an earlier part of it.
    """

    def __init__(self, path: Path, blocks: Path | None = None) -> None:
        self.path = path
        self.lines: list[LedgerLine] = []
        self.before = [line for _, line in read_lines(path, LedgerLine.model_validate_json)]
        self.blocks = BlockFile(blocks)

    def known(self, task: Task) -> Outcome | None:
        """A task's outcome in an earlier part of this search; None where it has none.

        Raises:
            DarwinError: the files belong to another search.
        """
        if task.key not in self.blocks:
            return None
        line = self.blocks[task.key]
        self._require_same(line.genes, task.genes, self.blocks.path or self.path)
        return Outcome(task, line.scores, line.seconds, line.reason)

    def equal(self, task: Task) -> Outcome | None:
        """The outcome of another candidate with the same genes on the same block, in no time; None where there is none.

        An outcome depends on genes and block alone.
        """
        line = self.blocks.equal(task)
        return None if line is None else Outcome(task, line.scores, 0.0, line.reason)

    def keep(self, outcome: Outcome) -> None:
        """Write one block's outcome."""
        self.blocks.add(outcome)

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
            append_line(self.path, line)
        self.lines.append(line)
        return line

    def _require_same(self, old: dict[str, float], new: object, path: Path) -> None:
        if old != new:
            self._refuse(path)

    def refuse(self) -> NoReturn:
        """Raise DarwinError: the blocks are those of another search."""
        self._refuse(self.blocks.path or self.path)

    def _refuse(self, path: Path) -> NoReturn:
        raise DarwinError(
            f"{path.name} does not belong to this search (other config, seed or parents): resume with the config"
            " the run was started with, or start a new run"
        )
