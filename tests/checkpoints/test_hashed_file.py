"""A file written in the background: the same bytes, their sha256, and no error lost."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darwin_mri.checkpoints import hashed_file
from darwin_mri.checkpoints.hashed_file import HashedFile


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.binary(max_size=300), max_size=40), flushed=st.integers(1, 500))
def test_bytes_and_digest_are_those_of_the_pieces_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], flushed: int
) -> None:
    path = tmp_path_factory.mktemp("file") / "shard"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_file, "FLUSHED", flushed)
        with HashedFile(path) as file:
            for piece in pieces:
                file.write(piece)
    assert path.read_bytes() == b"".join(pieces)
    assert file.sha256 == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_full_disk_raises() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError) as failed, HashedFile(Path("/dev/full")) as file:
        for _ in range(100):
            file.write(b"x" * 1000)
    assert failed.value.errno == errno.ENOSPC


def test_a_flush_that_fails_before_the_last_one_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux reports a failed write to one fsync only; those after it succeed."""
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(errno.EIO, "the disk is broken")
        real(handle)

    monkeypatch.setattr(hashed_file, "FLUSHED", 1)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="broken"), HashedFile(tmp_path / "shard") as file:
        for _ in range(50):
            file.write(b"x" * 100_000)


def test_an_error_of_the_caller_is_raised_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the caller's"), HashedFile(tmp_path / "shard") as file:
        file.write(b"abc")
        raise ValueError("the caller's")
    assert not hasattr(file, "sha256")
