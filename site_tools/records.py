"""Every record's schema, from the classes and their docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from darwin_mri import records
from darwin_mri.records import Part, Record
from site_tools.markdown import plain, table
from site_tools.types import default, models_in, words

# Of a run, which record a file holds; a ledger has one in each line.
FILES: dict[str, type[Part]] = {
    "manifest.json": records.Manifest,
    "inputs.json": records.Inputs,
    "splits.json": records.Splits,
    "scan/pair.json": records.PairScan,
    "scan/ROLE.json": records.Scan,
    "donors.json": records.DonorRecord,
    "references.json": records.References,
    "prior.json": records.Prior,
    "validation.json": records.Validation,
    "anchors.json": records.AnchorRecord,
    "ledger.jsonl": records.LedgerLine,
    "genome.json": records.Genome,
    "repair.json": records.RepairRecord,
    "child.json": records.ChildFiles,
    "health.json": records.Health,
    "answers/MODEL/TASK.json": records.AnswerSet,
    "answers/MODEL/TASK.jsonl": records.Answer,
    "comparison.json": records.Comparison,
    "arena.json": records.ArenaResult,
}
HEAD = """# Records

Made from the classes in `darwin_mri/records`. Every file of a run is JSON with a `schema` number; fields may be added,
never renamed. A field with a default may be absent. Read them with `darwin_mri.Genome.load(path)` and its like, which
needs no torch.

## Which file holds which

"""


def parts() -> Iterator[tuple[str, type[Part]]]:
    """Name and class of every record and every part of one, in alphabetical order."""
    found = {kind.__name__: kind for kind in vars(records).values() if _is_part(kind)}
    waiting = list(found.values())
    while waiting:
        for field in waiting.pop().model_fields.values():
            for inner in models_in(field.annotation):
                if _is_part(inner) and inner.__name__ not in found:
                    found[inner.__name__] = inner
                    waiting.append(inner)
    return iter(sorted(found.items()))


def _is_part(kind: object) -> bool:
    return inspect.isclass(kind) and issubclass(kind, Part) and kind not in (Part, Record)


def attributes(kind: type[BaseModel]) -> dict[str, str]:
    """What the docstring of a class says of its fields, those of the classes it extends too."""
    said: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        text = inspect.cleandoc(owner.__doc__ or "") if owner.__module__.startswith("darwin_mri") else ""
        _, _, section = text.partition("Attributes:\n")
        for name, meaning in re.findall(r"^ {4}(\w+): ((?:.*\n?(?: {8}.*\n?)*))", section, re.MULTILINE):
            said[name] = " ".join(meaning.split())
    return said


def page() -> str:
    """The reference of the records."""
    text = HEAD
    files = [(f"`{file}`", f"[{kind.__name__}](#{kind.__name__})", _schema(kind)) for file, kind in FILES.items()]
    text += table(("file", "record", "JSON schema"), files)
    for name, kind in parts():
        said = attributes(kind)
        summary = inspect.cleandoc(kind.__doc__ or "").splitlines()[0]
        text += f"\n## {name} {{ #{name} }}\n\n{summary}\n\n"
        rows = [
            (f"`{field.alias or key}`", plain(said.get(key, "")), _linked(field.annotation), default(field))
            for key, field in kind.model_fields.items()
        ]
        text += table(("field", "meaning", "type", "default"), rows)
    return text


def schemas() -> dict[str, dict[str, object]]:
    """File name -> JSON schema of each record that has a file."""
    return {f"{kind.__name__}.json": kind.model_json_schema(by_alias=True) for kind in FILES.values()}


def _schema(kind: type[Part]) -> str:
    return f"[{kind.__name__}.json](schemas/{kind.__name__}.json)"


def _linked(annotation: object) -> str:
    """The type in words, with links to the parts it mentions."""
    text = words(annotation)
    for inner in {inner.__name__ for inner in models_in(annotation) if _is_part(inner)}:
        text = re.sub(rf"\b{inner}\b", f"[{inner}](#{inner})", text)
    return text


def file_of(path: Path) -> type[Part] | None:
    """The record that a file of a run folder holds, by its path inside the folder."""
    name = path.as_posix()
    for file, kind in FILES.items():
        if re.fullmatch(re.sub(r"[A-Z]+", r"[^/]+", re.escape(file)), name):
            return kind
    return None
