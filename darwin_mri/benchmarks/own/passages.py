"""Passages of text from files of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from darwin_mri.benchmarks.items import item_hash
from darwin_mri.benchmarks.kinds.texts import TextItem
from darwin_mri.benchmarks.own.tables import SUFFIXES, Keys, slice_of, table_rows, word_of
from darwin_mri.errors import InputError
from darwin_mri.files import read_text

TEXTS = (".txt", ".md")
ENDS = ("\n\n", "\n", ". ", " ")  # where a passage may end, the best first
MANY_FILES = 10  # from so many on a file is a cluster; fewer could not be split into search and held-out parts
SHORTEST = 16  # bytes of a passage; less says nothing about a model


def load_passages(name: str, path: Path, size: int) -> tuple[TextItem, ...]:
    """The passages of a text file, of a table's column ``text``, or of every such file in a folder.

    Passages of one row share a cluster, and so do those of one text file where there are ``MANY_FILES`` or more;
    otherwise passages of text files are clusters of their own. A passage that occurs twice is read once.

    Args:
        name: of the task.
        path: of the file or folder.
        size: most UTF-8 bytes of a passage.

    Returns:
        The passages, in the order of the files and their text.

    Raises:
        InputError: nothing is there, a file cannot be read, or no text is left.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in (*TEXTS, *SUFFIXES))
        if not files:
            raise InputError(f"{path.name}: the folder holds no {', '.join((*TEXTS, *SUFFIXES))} file: name another")
    items: dict[str, TextItem] = {}
    for file in files:
        prefix = f"{file.relative_to(path)}:" if path.is_dir() else ""
        for item in _of_file(name, file, prefix, size, alone=len(files) < MANY_FILES):
            items.setdefault(item_hash(item), item)
    if not items:
        raise InputError(f"{path.name} holds no text of {SHORTEST} bytes: fill it, or name another file")
    return tuple(items.values())


def split_passages(text: str, size: int) -> Iterator[str]:
    """Passages of at most ``size`` UTF-8 bytes, cut at the best end in their second half, without white space around.

    Args:
        text: any text.
        size: in bytes, at least that of the longest character.

    Yields:
        The passages that are not empty.
    """
    rest = text.strip()
    while rest:
        window = rest.encode()[:size].decode(errors="ignore")
        cut = len(window)
        if cut < len(rest):
            places = (window.rfind(end, cut // 2) + len(end.rstrip(" ")) for end in ENDS if end in window[cut // 2 :])
            cut = next(places, cut)
        yield rest[:cut].rstrip()
        rest = rest[cut:].lstrip()


def _of_file(name: str, file: Path, prefix: str, size: int, *, alone: bool) -> Iterator[TextItem]:
    if file.suffix.lower() in SUFFIXES:
        keys = Keys()
        for number, row in enumerate(table_rows(file), 1):
            key = prefix + keys.of(row, number)
            cluster = word_of(row, "cluster") or key
            yield from _items(name, row.text("text"), size, (key, cluster, slice_of(row), row.file))
        return
    try:
        text = read_text(file)
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: name a text file, a table, or a folder of them") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file.name} cannot be read as UTF-8 text ({type(error).__name__}): save it again") from None
    yield from _items(name, text, size, (prefix or file.name, "" if alone else prefix, "all", file.name))


def _items(name: str, text: str, size: int, of: tuple[str, str, str, str]) -> Iterator[TextItem]:
    key, cluster, part, file = of
    for number, passage in enumerate(split_passages(text, size), 1):
        if len(passage.encode()) >= SHORTEST:
            own = f"{key}-{number:04d}"
            yield TextItem(key=own, cluster=cluster or own, slice=part, benchmark=name, file=file, text=passage)
