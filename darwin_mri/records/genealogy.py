"""A birth as one line of a genealogy, which a child's ``darwin_mri.json`` and the records of a run hold."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from darwin_mri.records.roles import PARENTS

# A name that holds what separates names, or a quote, is written as a JSON string.
_SEPARATOR = re.compile(r' [x=] |"')
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LINE = re.compile(rf"(?P<child>{_QUOTED}|.+?) = (?P<parents>.+) \((?P<method>[^()]*)\)", re.DOTALL)
_PARENT = re.compile(rf"({_QUOTED}|.+?)(?: x |$)", re.DOTALL)


@dataclass(frozen=True)
class Birth:
    """One merge.

    Attributes:
        child: its name.
        parents: their names, the father first.
        method: how they were merged.
    """

    child: str
    parents: tuple[str, ...]
    method: str

    @property
    def father(self) -> str:
        """The father's name."""
        return self.parents[0]

    @property
    def others(self) -> dict[str, str]:
        """Role -> name of the other parents; more than a run can have are left out."""
        return dict(zip(PARENTS[1:], self.parents[1:], strict=False))

    @property
    def line(self) -> str:
        """``CHILD = FATHER x MOTHER x PARENT3 (METHOD)``."""
        return f"{_written(self.child)} = {' x '.join(map(_written, self.parents))} ({self.method})"


def read_birth(line: str) -> Birth | None:
    """The birth of a line; None for a line in another form, or of a child with one parent."""
    match = _LINE.fullmatch(line)
    parents: Sequence[str] = _PARENT.findall(match["parents"]) if match else ()
    if match is None or len(parents) < 2:
        return None
    return Birth(_read(match["child"]), tuple(map(_read, parents)), match["method"])


def _written(name: str) -> str:
    return json.dumps(name, ensure_ascii=False) if _SEPARATOR.search(name) else name


def _read(name: str) -> str:
    if not re.fullmatch(_QUOTED, name):
        return name
    try:
        return json.loads(name)
    except ValueError:  # quoted by another hand
        return name
