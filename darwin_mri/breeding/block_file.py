"""The outcome of every block of every candidate of a search, on disk; memory holds only where each lies."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from darwin_mri.breeding.workers import Outcome, Task
from darwin_mri.files import writing

Line = TypeVar("Line", bound=BaseModel)
Key = tuple[int, int, int]
"""(generation, candidate, block)."""


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


class BlockFile:
    """Blocks by key and by what they depend on, in the order of the file.

    Args:
        path: of the file, made when a block is added; None keeps the blocks in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._memory = io.BytesIO()
        self._offsets: dict[Key, int] = {}
        self._equal: dict[bytes, int] = {}
        if path:
            for offset, line in read_lines(path, BlockLine.model_validate_json):
                self._index(line, offset)

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._offsets)

    def __contains__(self, key: object) -> bool:
        return key in self._offsets

    def __getitem__(self, key: Key) -> BlockLine:
        return self._at(self._offsets[key])

    def equal(self, task: Task) -> BlockLine | None:
        """The first block of the same genes and number; None where there is none."""
        offset = self._equal.get(_content(task))
        return None if offset is None else self._at(offset)

    def seconds(self) -> float:
        """Sum over all blocks."""
        if not self._offsets:
            return 0.0
        with self._open() as stream:
            lines = (_line_at(stream, offset) for offset in self._offsets.values())
            return sum(BlockLine.model_validate_json(line).seconds for line in lines)

    def add(self, outcome: Outcome) -> None:
        """Write a block, and force it to disk."""
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
        if self.path:
            offset = append_line(self.path, line)
        else:
            offset = self._memory.seek(0, os.SEEK_END)
            self._memory.write(_encode(line))
        self._index(line, offset)

    def _index(self, line: BlockLine, offset: int) -> None:
        self._offsets[line.generation, line.candidate, line.block] = offset
        self._equal.setdefault(_content(line), offset)

    def _at(self, offset: int) -> BlockLine:
        with self._open() as stream:
            return BlockLine.model_validate_json(_line_at(stream, offset))

    def _open(self) -> BinaryIO:
        return self.path.open("rb") if self.path else io.BytesIO(self._memory.getvalue())


def _line_at(stream: BinaryIO, offset: int) -> bytes:
    stream.seek(offset)
    return stream.readline()


def _content(task: Task | BlockLine) -> bytes:
    """A digest of all that the scores of a task depend on."""
    return hashlib.blake2b(repr((task.block, *task.genes.items())).encode(), digest_size=16).digest()


def _encode(line: BaseModel) -> bytes:
    return (json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n").encode()


def read_lines(path: Path, parse: Callable[[bytes], Line]) -> Iterator[tuple[int, Line]]:
    """(offset, line) of every whole line of a file; what follows, such as a line cut short by a kill, is cut off."""
    if not path.is_file():
        return
    good = 0
    with path.open("rb") as stream:
        for raw in stream:
            try:
                if not raw.endswith(b"\n"):
                    break
                line = parse(raw)
            except ValidationError:
                break
            yield good, line
            good += len(raw)
    os.truncate(path, good)


def append_line(path: Path, line: BaseModel) -> int:
    """Append a line and force it to disk; the value is its offset."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            offset = stream.tell()
            stream.write(_encode(line))
            stream.flush()
            os.fsync(stream.fileno())
    return offset
