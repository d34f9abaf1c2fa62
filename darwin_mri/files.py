"""Files of the user: text with or without a byte order mark, and output that cannot be written, said in one line."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator, Hashable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.errors import InputError, OutputError

ADVICE = {
    errno.ENOSPC: "free space on its disk and run again",
    errno.EDQUOT: "free space within the quota and run again",
    errno.EFBIG: "lift the limit on file sizes (ulimit -f) and run again",
    errno.ENOENT: "a folder vanished or takes no files: check the path and run again",
}
OTHER_ADVICE = "check the path and its permissions, or choose another"


def read_text(path: Path, errors: str = "strict") -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put first.

    Raises InputError where the path is a pipe or a device, which may never end.
    """
    require_regular(path)
    return path.read_text(encoding="utf-8-sig", errors=errors)


def require_regular(path: Path) -> None:
    """Raise InputError where there is something that is neither a file nor a folder: a pipe, a device."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is neither a file nor a folder: give a file")


def describe_os_error(error: OSError, path: Path | str | None = None) -> str:
    """One line on what the system refused: the file, the reason and what to do."""
    where = error.filename if path is None else path
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{where or 'the output'}: {reason}: {ADVICE.get(error.errno or 0, OTHER_ADVICE)}"


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the system refuses inside into an OutputError that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {describe_os_error(error, path)}") from error


def require_folder(folder: Path, option: str = "--out") -> None:
    """Raise InputError unless a folder can be made and written to; asked before any work, and nothing is left behind.

    Args:
        folder: to be written; it need not exist.
        option: the user gave it with.
    """
    try:
        try:
            folder.lstat()  # a name that is too long, a path under a file, links in a circle
        except FileNotFoundError:
            existing = next(parent for parent in folder.absolute().parents if parent.is_dir())
        else:
            if not folder.is_dir():
                raise InputError(f"{folder} exists and is not a folder: choose another {option}")
            existing = folder
        Path(tempfile.mkdtemp(prefix=".darwin_mri-", dir=existing)).rmdir()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{folder} cannot be written to ({reason}): choose another {option}") from None


def is_utf8(path: Path) -> bool:
    """Whether a path is text; on Linux it may be any bytes, and safetensors opens no other."""
    return not any("\udc80" <= letter <= "\udcff" for letter in str(path))


def require_loadable(out: Path) -> None:
    """Raise InputError where no model that is written there could be loaded."""
    if not is_utf8(out.absolute()):
        raise InputError(f"{ascii(str(out))[1:-1]}: the folder's name is not UTF-8: choose another --out")


def require_output(folder: Path, patterns: Iterable[str], option: str = "--out") -> None:
    """Raise InputError unless a folder can be written to and its files can be made in it.

    Args:
        folder: to be written; it need not exist.
        patterns: of the files in it, relative to it; ``*`` as in ``Path.glob``.
        option: the user gave the folder with.
    """
    require_folder(folder, option)
    for pattern in patterns:
        above = [str(part) for part in Path(pattern).parents if part.name and "*" not in part.name]
        blocked = [path for part in above for path in folder.glob(part) if not path.is_dir()]
        blocked += [path for path in folder.glob(pattern) if path.is_dir()]
        if blocked:
            raise InputError(f"{blocked[0]} is in the way of the output: move it, or choose another {option}")


def require_file(path: Path, option: str) -> None:
    """Raise InputError unless a file can be written at a path that the user gave with an option."""
    require_folder(path.parent, option)
    try:
        path.lstat()
        if path.is_dir():
            raise InputError(f"{path} is a folder: give {option} a file")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): choose another {option}") from None


def lock_file(path: Path) -> bool:
    """Lock a file, which is made, until it is unlocked or this process ends; False where another process has it.

    The system gives the lock back however the process ends. Where a disk or a system knows no locks there is none.
    """
    try:
        import fcntl
    except ImportError:  # no Unix
        return True
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _LOCKS.get(path.absolute()) or os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            os.close(handle)
            return False
    _LOCKS[path.absolute()] = handle
    return True


def unlock_file(path: Path) -> None:
    """Give a lock back; nothing where this process has none."""
    handle = _LOCKS.pop(path.absolute(), None)
    if handle is not None:
        os.close(handle)


_LOCKS: dict[Path, int] = {}  # handles that stay open: closing one would give up its lock


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice: YAML's own loader would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.YAMLError(f"'{key}' is given twice in the mapping of line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; raises YAMLError also where a key stands twice in a mapping, or too much is nested."""
    try:
        return yaml.load(read_text(path), _UniqueKeys)
    except RecursionError:
        raise yaml.YAMLError("too deeply nested") from None
