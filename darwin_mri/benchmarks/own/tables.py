"""Rows of a user's own file: JSONL, CSV, TSV or Parquet, by the same fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from darwin_mri.benchmarks.sources import Row, file_rows
from darwin_mri.errors import InputError
from darwin_mri.files import require_regular

ADVICE = "mend the row"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", ".ndjson", *DELIMITERS, ".parquet")


def table_rows(file: Path) -> Iterator[Row]:
    """Rows of a file, by the ending of its name; of a CSV all values are texts, and empty ones are left out.

    Raises:
        InputError: an unknown ending, no such file, a file that cannot be read, or one without rows.
    """
    suffix = file.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        for row in file_rows(file, "name a file of questions"):
            yield replace(row, advice=ADVICE)
        return
    if suffix not in (*DELIMITERS, ".parquet"):
        raise InputError(f"{file.name}: a task is read from .jsonl, .csv, .tsv or .parquet, not from '{suffix}'")
    if not file.is_file():
        require_regular(file)
        raise InputError(f"{file} does not exist: name a file of questions")
    read, unit = (_parquet_rows, "row") if suffix == ".parquet" else (_csv_rows, "line")
    empty = True
    for number, data in read(file):
        empty = False
        yield Row(f"{file.name} {unit} {number}", data, advice=ADVICE)
    if empty:
        raise InputError(f"{file.name} holds no rows: fill it, or name another file")


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter=DELIMITERS[file.suffix.lower()], strict=True)
            for data in reader:
                values = {key.strip(): value for key, value in data.items() if key and value}
                if None in data:
                    raise InputError(
                        f"{file.name} line {reader.line_num}: more values than columns: quote values with commas in"
                        " them"
                    )
                yield reader.line_num, values
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file.name} cannot be read as UTF-8 CSV ({type(error).__name__}): save it again as UTF-8"
        ) from None


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InputError(
            f"reading {file.name} needs the package pyarrow: pip install 'darwin-mri[bench]', or save it as JSONL"
        ) from None
    try:
        rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    except (OSError, ArrowException) as error:
        raise InputError(f"{file.name} cannot be read as Parquet ({type(error).__name__}): write it again") from None
    yield from enumerate(rows, 1)


class Keys:
    """The keys of a table's rows, each of them once."""

    def __init__(self) -> None:
        self._rows: dict[str, str] = {}

    def of(self, row: Row, number: int) -> str:
        """A row's own ``id``, or its number; raises InputError where an earlier row has it."""
        key = word_of(row, "id") or f"{number:05d}"
        if key in self._rows:
            raise row.error(f"its id is that of {self._rows[key]} as well")
        self._rows[key] = row.file
        return key


def slice_of(row: Row) -> str:
    """The part that a row is also reported in: its ``slice``, else its ``language``."""
    return word_of(row, "slice") or word_of(row, "language") or "all"


def word_of(row: Row, field: str) -> str:
    """A short field that may be absent; numbers are taken as they are written."""
    value = row.data.get(field)
    if value is None:
        return ""
    text = text_of(value)
    if text is None:
        raise row.error(f"field '{field}' is neither a text nor a number")
    return text


def text_of(value: object) -> str | None:
    """A text without white space around it; of a number its digits; None for anything else."""
    if isinstance(value, str):
        text = value.strip()
        return text if not any("\ud800" <= letter <= "\udfff" for letter in text) else None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
