"""What every record shares: frozen, schema-versioned, strict JSON in and out, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darwin_mri.errors import InputError
from darwin_mri.files import read_text, writing

SCHEMA = 1


class Part(BaseModel):
    """A piece of a record. NaN and infinity are refused: what was not measured is absent, never a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Record(Part):
    """A record with one file on disk.

    Attributes:
        schema_version: version of the fields, in JSON as ``schema``.
    """

    schema_version: int = Field(default=SCHEMA, alias="schema")

    def to_json(self) -> str:
        """The record as indented JSON text; the same record gives the same bytes."""
        return (
            json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False, allow_nan=False)
            + "\n"
        )

    def _repr_html_(self) -> str | None:
        """The record in a notebook: the report's tables where the report is loaded, else the notebook's plain text."""
        show = _NOTEBOOK.get(type(self))
        return None if show is None else show(self)

    def save(self, path: Path) -> None:
        """Write to a temporary name beside ``path`` and rename."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            InputError: the file is missing, damaged or newer than this package; the message names it and the first
                wrong field.
        """
        try:
            data: Any = json.loads(read_text(path))
        except FileNotFoundError:
            raise InputError(f"{path} is missing: run the stage that writes it") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path} cannot be read as JSON ({error}): delete it and run its stage again") from None
        schema = cast("dict[str, object]", data).get("schema") if isinstance(data, dict) else None
        if isinstance(schema, int) and schema > SCHEMA:
            raise InputError(f"{path} has schema {schema}, newer than {SCHEMA}: update darwin_mri")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: field '{where}': {first['msg']}") from None


_NOTEBOOK: dict[type[Record], Callable[[Any], str]] = {}
AnyRecord = TypeVar("AnyRecord", bound=Record)


def show_in_notebooks(kind: type[AnyRecord], show: Callable[[AnyRecord], str]) -> None:
    """Let notebooks show records of this kind as HTML.

    Records do not import the report; the report, once imported, registers how they look.
    """
    _NOTEBOOK[kind] = show


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, making its folder; raises OutputError where the system refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
