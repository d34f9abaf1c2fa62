"""Where items come from: files of a data folder, or the model hub. Errors name file, line and id, never the text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darwin_mri.errors import InputError
from darwin_mri.files import read_text


@dataclass(frozen=True)
class Source:
    """Where to look.

    Attributes:
        folder: data folder (``click/click.jsonl``, ``musr/*.jsonl``, ``gpqa/dataset.zip``); the hub when None.
        offline: never contact the hub.
        password: of GPQA's zip.
    """

    folder: Path | None = None
    offline: bool = False
    password: str | None = None


@dataclass(frozen=True)
class Row:
    """One record of a benchmark file, whose fields are checked as they are read.

    Attributes:
        file: where it stands, such as "click.jsonl line 17".
        data: its fields.
        name: its own id, for messages; empty where none is known yet.
        advice: what to do about a wrong field, for messages.
    """

    file: str
    data: Mapping[str, Any]
    name: str = ""
    advice: str = "get the file again from its publisher, or mend the line"

    def named(self, name: str) -> Row:
        """The same row with its own id added to every message."""
        return replace(self, name=name)

    def text(self, field: str, *, empty: bool = False) -> str:
        """A text field; ``empty`` allows it to be missing, null or blank."""
        value = self.data.get(field)
        if empty and value is None:
            return ""
        if not isinstance(value, str) or not (empty or value.strip()) or not _is_text(value):
            raise self.error(f"field '{field}' {'is missing' if value is None else 'is not a text, or empty'}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of two or more texts without white space around them."""
        value = self.data.get(field)
        if value is None:
            raise self.error(f"field '{field}' is missing")
        sound = isinstance(value, list) and len(value) > 1
        if not sound or not all(isinstance(v, str) and v.strip() and _is_text(v) for v in value):
            raise self.error(f"field '{field}' is not a list of two or more texts")
        return tuple(v.strip() for v in value)

    def integer(self, field: str) -> int:
        """A whole number."""
        value = self.data.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"field '{field}' {'is missing' if value is None else 'is not a whole number'}")
        return value

    def error(self, what: str) -> InputError:
        """The error to raise for a wrong field; it names the record and quotes nothing."""
        where = f"{self.file} ({self.name})" if self.name else self.file
        return InputError(f"{where}: {what}: {self.advice}")


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: JSON can name halves of characters that cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def jsonl_rows(source: Source, path: str, repository: str, *, split: str, config: str | None = None) -> Iterator[Row]:
    """Rows of ``path`` in the data folder, or of a hub data set's split when there is no folder.

    Args:
        source: where to look.
        path: relative to the data folder.
        repository: the data set's id on the hub.
        split: of the data set.
        config: of the data set, where it has several.

    Yields:
        The rows.

    Raises:
        InputError: missing, unreadable, empty, or a line that is no JSON object.
    """
    if source.folder is None:
        yield from hub_rows(source, path, repository, split=split, config=config)
        return
    file = source.folder / path
    yield from file_rows(file, "--data needs the layout click/click.jsonl, musr/*.jsonl, gpqa/dataset.zip")


def file_rows(file: Path, missing: str) -> Iterator[Row]:
    """Rows of a JSONL file.

    Args:
        file: the file.
        missing: what to do where it does not exist.

    Yields:
        The rows.

    Raises:
        InputError: missing, unreadable, empty, or a line that is no JSON object.
    """
    try:
        # Not splitlines, which would cut at U+2028: JSON allows it in a text.
        lines = read_text(file).split("\n")
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: {missing}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as UTF-8 text ({type(error).__name__}): get it again") from None
    empty = True
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file.name} line {number}"
        try:
            data: Any = json.loads(line)
        except (ValueError, RecursionError):
            raise InputError(f"{where}: is not JSON: the file is damaged, get it again") from None
        if not isinstance(data, dict):
            raise InputError(f"{where}: is not a JSON object: the file is damaged, get it again")
        empty = False
        yield Row(where, data)
    if empty:
        raise InputError(f"{file} holds no items: get it again")


def hub_rows(source: Source, path: str, repository: str, *, split: str, config: str | None = None) -> Iterator[Row]:
    """Rows of a data set on the hub, streamed: nothing of it is kept on disk.

    Args:
        source: where to look.
        path: of the same data in a data folder, for messages.
        repository: the data set's id on the hub.
        split: of the data set.
        config: of the data set, where it has several.

    Yields:
        The rows.

    Raises:
        InputError: offline, not reachable, gated, or the datasets package is missing.
    """
    advice = f"give --data DIR, a folder with {path}"
    if source.offline:
        raise InputError(f"{repository} is on the hub and --offline was asked for: {advice}")
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"reading {repository} from the hub needs the package datasets: pip install 'darwin-mri[bench]',"
            f" or {advice}"
        ) from None
    try:
        rows: Any = datasets.load_dataset(repository, config, split=split, streaming=True)
        number = 0
        for number, data in enumerate(rows, 1):
            yield Row(f"{repository} {config or split} row {number}", data)
    except InputError:
        raise
    except Exception as error:  # connection, gate, missing split: many libraries, many classes
        raise InputError(f"{repository} cannot be read from the hub ({type(error).__name__}): {advice}") from error
    if not number:
        raise InputError(f"{repository} {config or split} holds no rows on the hub: {advice}")
