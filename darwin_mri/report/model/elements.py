"""What a report is made of: sections of text, tables and figures, already in words. Renderers only lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from darwin_mri.records import Contrast, Score
from darwin_mri.records.roles import NULL_PREFIX, Family, role_label
from darwin_mri.report.charts import Chart

SHORT = 24  # characters of a cell that never breaks
GLYPHS: dict[Family, str] = {  # shapes differ as well as colours
    "father": "●",
    "mother": "■",
    "parent3": "▼",
    "parent4": "★",
    "parent5": "►",
    "parent6": "✚",
    "parent7": "◄",
    "parent8": "▬",
    "child": "◆",
    "base": "▲",
    "null": "×",
    "baseline": "○",
}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        cells: one text per column.
        role: gives the line a mark.
        strong: whether it stands out.
        group: whether a new group starts above it.
        keys: by column, the number that a reader who sorts the table sorts by; None where there is none. Rows of a
            table without keys cannot be sorted.
    """

    cells: tuple[str, ...]
    role: str = ""
    strong: bool = False
    group: bool = False
    keys: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: its name.
        columns: their names.
        rows: one per line.
        numeric: numbers of the columns that are set to the right.
        note: what a reader needs to know, below.
        folded: whether only the caption shows at first.
        marked: number of the column that carries the mark of each row's role.
        spare: numbers of the columns that may be left out where there is no room, the first one first.
    """

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
            rows=tuple(
                replace(
                    row,
                    cells=tuple(row.cells[i] for i in kept),
                    keys=tuple(row.keys[i] for i in kept) if row.keys else (),
                )
                for row in self.rows
            ),
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
    def sortable(self) -> bool:
        """Whether a reader may sort the rows by a column."""
        return len(self.rows) > 1 and all(row.keys for row in self.rows)

    @property
    def grouped(self) -> bool:
        """Whether rows come in groups, whose name the first column repeats."""
        return any(row.group for row in self.rows)


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: its sentences.
    """

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences.

    Attributes:
        items: one per bullet.
    """

    items: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text to copy, kept as it is.

    Attributes:
        caption: its name.
        text: the lines.
        folded: whether only the caption shows at first.
    """

    caption: str
    text: str
    folded: bool = False


@dataclass(frozen=True)
class Tree:
    """A family tree read from the child back: each node with its parents.

    Attributes:
        label: name of the model.
        role: child, a parent's, base or ancestor.
        parents: its own trees.
    """

    label: str
    role: str
    parents: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A chart with the tables of what it shows.

    Attributes:
        chart: what is drawn.
        tables: every value of it.
        note: how to read it.
    """

    chart: Chart
    tables: tuple[Table, ...]
    note: str = ""


@dataclass(frozen=True)
class Definitions:
    """Terms with their explanations.

    Attributes:
        terms: (term, explanation) pairs.
    """

    terms: tuple[tuple[str, str], ...]


Block = Text | Table | Bullets | Code | Tree | Figure | Definitions


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        key: id in the page.
        title: its heading.
        blocks: its content, in order.
        missing: what was not there, and which command makes it.
    """

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    missing: str = ""


def score_label(score: Score) -> str:
    """Whose score it is; baselines go by their model's name since a run may have several."""
    if score.null is not None:
        return role_label(f"{NULL_PREFIX}{score.null}")
    return score.model or role_label(score.role) if score.family == "baseline" else role_label(score.role)


def other_label(contrast: Contrast) -> str:
    """The model that the child is compared with."""
    if contrast.null is not None:
        return role_label(f"{NULL_PREFIX}{contrast.null}")
    return contrast.model or role_label(contrast.other) if contrast.other == "baseline" else role_label(contrast.other)


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    text: Sequence[int] = (0,),
    note: str = "",
    folded: bool = False,
) -> Table:
    """A table whose columns are numeric except those listed in ``text``.

    Args:
        caption: its name.
        columns: their names.
        rows: one per line.
        text: numbers of the columns that hold text.
        note: what a reader needs to know, below.
        folded: whether only the caption shows at first.

    Returns:
        the table, without spare columns, its first column marked.
    """
    numeric = tuple(i for i in range(len(columns)) if i not in text)
    return Table(caption, tuple(columns), tuple(rows), numeric, note, folded)
