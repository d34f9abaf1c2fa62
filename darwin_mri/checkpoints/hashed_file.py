"""A file that is written, hashed and flushed to disk beside the work that makes its bytes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

AHEAD = 8  # pieces that may wait to be written: bounds memory
FLUSHED = 2**26  # bytes after which another flush is begun, so that little is left to wait for in the end


class HashedFile:
    """A context that writes a file with three threads: one writes, in order, one hashes, one flushes to disk.

    All of them let the interpreter go on. Errors of writing, such as a full disk, are raised by a later ``write`` or by
    closing; after an error in the block nothing more is written.

    Args:
        path: the file; one that is there is overwritten.

    Attributes:
        sha256: of the whole file, in hexadecimal; there once the file is closed.
    """

    sha256: str

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.sha256()
        self._writer, self._hasher, self._flusher = (ThreadPoolExecutor(1) for _ in range(3))
        self._waiting: list[Future[None]] = []
        self._flush: Future[None] | None = None
        self._unflushed = 0
        self._finished = False

    def __enter__(self) -> HashedFile:
        return self

    def write(self, piece: bytes | memoryview) -> None:
        """Take bytes that nobody will change; waits where the disk is behind."""
        self._waiting += [self._writer.submit(self._write, piece), self._hasher.submit(self._digest.update, piece)]
        while len(self._waiting) > 2 * AHEAD:
            self._waiting.pop(0).result()

    def finish(self) -> None:
        """Nothing more comes: the rest is flushed meanwhile, and closing will wait for less."""
        self._finished = True
        self._waiting.append(self._writer.submit(self._end))

    def _write(self, piece: bytes | memoryview) -> None:
        left = memoryview(piece).cast("B")
        self._unflushed += len(left)
        while len(left):
            left = left[self._file.write(left) :]
        if self._unflushed >= FLUSHED and (self._flush is None or self._flush.done()):
            if self._flush is not None:
                self._flush.result()  # a disk reports a failed write once: it must not go unnoticed
            self._unflushed = 0
            self._flush = self._flusher.submit(os.fsync, self._file.fileno())

    def _end(self) -> None:
        if self._flush is not None:
            self._flush.result()
        os.fsync(self._file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._finished:
            self.finish()
        try:
            for worker in (self._writer, self._hasher, self._flusher):
                worker.shutdown(cancel_futures=kind is not None)
            if kind is None:
                for pending in self._waiting:
                    pending.result()
                self.sha256 = self._digest.hexdigest()
        finally:
            self._file.close()
