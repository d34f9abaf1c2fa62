"""What a report is made of: sections of text, tables and figures, already in words. Renderers only lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from darwin_mri.report.charts import Chart

ROLES = ("father", "mother", "child", "base", "null", "baseline")
SHORT = 24  # characters of a cell that never breaks
GLYPHS = {"father": "●", "mother": "■", "child": "◆", "base": "▲", "null": "×", "baseline": "○"}


@dataclass(frozen=True)
class Row:
    """One line of a table. ``role`` gives it a mark; ``strong`` makes it stand out; ``group`` starts a new group above it."""

    cells: tuple[str, ...]
    role: str = ""
    strong: bool = False
    group: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows. ``numeric`` columns, by number, are set to the right; column ``marked``
    carries the mark of each row's role; columns ``spare`` may be left out, the first one first, where there is no room."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: tuple[int, ...] = ()
    note: str = ""
    folded: bool = False
    marked: int = 0
    spare: tuple[int, ...] = ()

    def without(self, column: int) -> Table:
        """The same table less one column; the first one stays."""
        kept = [i for i in range(len(self.columns)) if i != column]
        numbers = {old: new for new, old in enumerate(kept)}
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in self.rows),
            numeric=tuple(numbers[i] for i in self.numeric if i in numbers),
            marked=numbers.get(self.marked, 0),
            spare=tuple(numbers[i] for i in self.spare if i in numbers),
        )

    @property
    def short(self) -> tuple[int, ...]:
        """Columns whose every cell is short enough to stay on one line."""
        columns = range(len(self.columns))
        return tuple(i for i in columns if all(len(row.cells[i]) <= SHORT for row in self.rows))

    @property
    def grouped(self) -> bool:
        """Whether rows come in groups, whose name the first column repeats."""
        return any(row.group for row in self.rows)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text to copy, kept as it is; ``folded`` under its caption."""

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Tree:
    """A family tree read from the child back: each node with its parents."""

    label: str
    role: str
    parents: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A chart with the tables of what it shows."""

    chart: Chart
    tables: tuple[Table, ...]
    note: str = ""


Block = Text | Table | Bullets | Code | Tree | Figure


@dataclass(frozen=True)
class Section:
    """A part of the report; ``missing`` says what was not there and which command makes it."""

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    missing: str = ""


def role_family(role: str) -> str:
    """``null:uniform`` -> ``null``; a role nobody knows is drawn as a baseline."""
    family = role.partition(":")[0]
    return family if family in ROLES else "baseline"


def role_label(role: str, model: str = "") -> str:
    """The role in words; baselines go by their model's name since a run may have several."""
    family, _, name = role.partition(":")
    if family == "null" and name:
        return f"null: {name}"
    return model or role if role_family(role) == "baseline" else role


def role_order(role: str) -> int:
    """Where a role stands in every table and chart."""
    return ROLES.index(role_family(role))


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    text: Sequence[int] = (0,),
    note: str = "",
    folded: bool = False,
    marked: int = 0,
    spare: Sequence[int] = (),
) -> Table:
    """A table whose columns are numeric except those listed in ``text``."""
    numeric = tuple(i for i in range(len(columns)) if i not in text)
    return Table(caption, tuple(columns), tuple(rows), numeric, note, folded, marked, tuple(spare))
