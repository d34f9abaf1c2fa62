"""A folder that appears whole or not at all: written beside its place, flushed to disk, renamed."""

from __future__ import annotations

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.errors import DarwinError, InputError, OutputError
from darwin_mri.files import describe_os_error

NOTE = "darwin_mri.json"  # written last: a folder without it is no finished child
PARTIAL, EARLIER = "partial", "earlier"


@dataclass(frozen=True)
class Purpose:
    """What a folder is written for, in the words of errors.

    Attributes:
        what: the folder is.
        elsewhere: how another place for it is chosen.
        note: the file that is written into it last.
    """

    what: str = "the child"
    elsewhere: str = "choose another --out"
    note: str = NOTE


CHILD = Purpose()


def refuse_occupied(parent: Path, out: Path) -> None:
    """Raise InputError unless ``out`` is free for a child of this parent: absent, empty, or an earlier child."""
    if parent.is_relative_to(out.resolve()) or out.resolve().is_relative_to(parent):
        raise InputError(f"{out} overlaps the folder of a parent ({parent.name}): choose another --out")
    if not os.path.lexists(out):
        return
    if os.path.ismount(out):  # nothing can be renamed to it
        raise InputError(f"{out} is a mount point: choose a folder in it as --out")
    if out.is_symlink() or not out.is_dir():
        raise InputError(f"{out} exists and is not a folder: choose another --out")
    if any(out.iterdir()) and not (out / NOTE).is_file():
        raise InputError(f"{out} is not empty and holds no earlier child ({NOTE}): choose another --out")


def require_space(folder: Path, needed: int, purpose: Purpose = CHILD) -> None:
    """Refuse a disk that is too small.

    Args:
        folder: on the disk.
        needed: bytes that must be free.
        purpose: what they are for.

    Raises:
        DarwinError: names the missing bytes.
    """
    missing = needed - shutil.disk_usage(folder).free
    if missing > 0:
        raise DarwinError(
            f"{folder} has no room for {purpose.what}: {missing:,} of {needed:,} bytes are missing; "
            f"free them or {purpose.elsewhere}"
        )


def existing_parent(out: Path) -> Path:
    """The nearest folder above ``out`` that exists."""
    return next(folder for folder in out.absolute().parents if folder.is_dir())


@contextmanager
def partial_folder(out: Path, needed: int, purpose: Purpose = CHILD) -> Iterator[Path]:
    """A hidden sibling of ``out``, removed in the end unless it was renamed.

    First clears what killed runs have left: their partial folders go, an earlier child they had set aside is put back.

    Args:
        out: the folder to be.
        needed: bytes that its disk must have free.
        purpose: what the folder is for.

    Yields:
        The sibling, empty.

    Raises:
        InputError: the parent cannot be written to.
        DarwinError: the disk has no room for ``needed`` bytes, or filled up; says how many are missing.
    """
    _clear_leftovers(out)
    above = existing_parent(out)
    require_space(above, needed, purpose)
    partial = _sibling(out, PARTIAL)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out.parent} cannot be written to ({error.strerror}): {purpose.elsewhere}") from None
    try:
        with _full_disk_explained(partial, needed, purpose):
            yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in out.absolute().parents:  # those made for a child that was never finished
            if folder == above:
                break
            with suppress(OSError):
                folder.rmdir()


def move_into_place(partial: Path, out: Path) -> None:
    """Rename the finished folder to ``out``; an earlier child there is kept until the new one is in place."""
    for folder in (*(path for path in partial.rglob("*") if path.is_dir()), partial):
        sync_folder(folder)
    earlier = _sibling(out, EARLIER)
    if out.exists():
        out.rename(earlier)
    try:
        partial.rename(out)
    except BaseException:
        if earlier.exists():
            earlier.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file's bytes and flush them to disk."""
    with source.open("rb") as old, target.open("wb") as new:
        shutil.copyfileobj(old, new)
        new.flush()
        os.fsync(new.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's own entries, so that a rename survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sibling(out: Path, kind: str) -> Path:
    return out.parent / f".{out.name}.{kind}-{os.getpid()}"


def _clear_leftovers(out: Path) -> None:
    for left in out.parent.glob(f".{glob.escape(out.name)}.{PARTIAL}-*"):
        if not _alive(left.name):
            shutil.rmtree(left, ignore_errors=True)
    for left in out.parent.glob(f".{glob.escape(out.name)}.{EARLIER}-*"):
        if _alive(left.name):
            continue
        if out.exists():
            shutil.rmtree(left, ignore_errors=True)
        else:  # killed between two renames
            left.rename(out)


def _alive(name: str) -> bool:
    """Whether another process runs that has the number at the name's end; what is no number counts as alive."""
    pid = name.rpartition("-")[2]
    if not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return int(pid) != os.getpid()


@contextmanager
def _full_disk_explained(partial: Path, needed: int, purpose: Purpose) -> Iterator[None]:
    """Turn ENOSPC into a DarwinError that says how many bytes are missing."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise DarwinError(
                f"{partial.parent} takes no file as large as {purpose.what}'s: lift the limit on file sizes "
                f"(ulimit -f), or {purpose.elsewhere}"
            ) from None
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"cannot write {purpose.what}: {describe_os_error(error)}") from error
        written = sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
        missing = max(1, needed - written - shutil.disk_usage(partial).free)
        raise DarwinError(
            f"the disk of {partial.parent} filled up: about {missing:,} of {needed:,} bytes are missing; "
            "free them and run again"
        ) from None
