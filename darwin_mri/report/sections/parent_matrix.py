"""Numbers by parent and father layer as a figure: a heat map with a row per parent, and every value in a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darwin_mri.records.roles import PARENTS, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import HeatMap, HeatPanel
from darwin_mri.report.model.elements import Figure, Row, Table, table
from darwin_mri.translation import say


@dataclass(frozen=True)
class Value:
    """One cell.

    Attributes:
        number: that colours it; None where there is none, or where the gene is frozen.
        detail: printed on hover and in the table.
        mark: printed after the number.
        frozen: whether the cell is hatched.
        more: printed on hover after the detail.
    """

    number: float | None
    detail: str
    mark: str = ""
    frozen: bool = False
    more: str = ""


@dataclass(frozen=True)
class Plane:
    """One kind of number.

    Attributes:
        title: of its panel, and in the table's first column where there are several.
        values: other parent -> father layer -> value.
        top: size of number that has the full colour; the largest there is when absent.
    """

    title: str
    values: Mapping[str, Mapping[int, Value]]
    top: float | None = None


@dataclass(frozen=True)
class Heading:
    """What a figure is called.

    Attributes:
        key: id in the page.
        title: its name.
        description: for readers who cannot see it.
        note: how to read it.
    """

    key: str
    title: str
    description: str
    note: str = ""


def matrix_figure(
    heading: Heading,
    planes: Sequence[Plane],
    short: Callable[[float], str],
    *,
    diverging: bool = False,
    legend: tuple[str, str] | None = None,
    tables: Sequence[Table] = (),
) -> Figure:
    """Draw parents as rows and father layers as columns, one panel per kind of number.

    Args:
        heading: what it is called.
        planes: what to show, each on a colour scale of its own.
        short: how a cell prints a number.
        diverging: whether the sign matters; small numbers are then spread by a square root.
        legend: words for the two ends of the colour scale; the first plane's largest number when absent.
        tables: of the same numbers; one of layers against parents when there is none.

    Returns:
        the figure.
    """
    layers = sorted({layer for plane in planes for row in plane.values.values() for layer in row})
    panels = []
    for plane in planes:
        top, roles = _top(plane), _roles(plane)
        cells = [[plane.values[role].get(layer) for layer in layers] for role in roles]
        panels.append(
            HeatPanel(
                plane.title,
                rows=tuple(map(role_label, roles)),
                layers=tuple(map(role_label, roles)),
                shades=tuple(tuple(_shade(v, top, diverging) for v in row) for row in cells),
                texts=tuple(
                    tuple("" if v is None or v.number is None else short(v.number) + v.mark for v in row)
                    for row in cells
                ),
                details=tuple(
                    tuple(say("not known") if v is None else v.detail + v.more for v in row) for row in cells
                ),
                hatched=frozenset(
                    (r, c) for r, row in enumerate(cells) for c, v in enumerate(row) if v is not None and v.frozen
                ),
            )
        )
    top = short(_top(planes[0]))
    ends = (f"{formats.MINUS}{top.removeprefix('+')}", f"+{top.removeprefix('+')}") if diverging else ("0", top)
    chart = HeatMap(
        heading.key,
        heading.title,
        heading.description,
        tuple(map(str, layers)),
        tuple(panels),
        legend or ends,
        diverging=diverging,
        matrix=True,
    )
    return Figure(chart, tuple(tables) or (matrix_table(heading.title, planes),), heading.note)


def matrix_table(caption: str, planes: Sequence[Plane]) -> Table:
    """Every value: layers as rows, parents as columns; grouped where there are several kinds."""
    roles = [role for role in PARENTS if any(role in plane.values for plane in planes)]
    rows = []
    for plane in planes:
        layers = sorted({layer for row in plane.values.values() for layer in row})
        for number, layer in enumerate(layers):
            values = [plane.values.get(role, {}).get(layer) for role in roles]
            cells = (str(layer), *(formats.ABSENT if value is None else value.detail for value in values))
            several = len(planes) > 1
            rows.append(Row((plane.title, *cells) if several else cells, group=several and number == 0))
    columns = (say("layer"), *map(role_label, roles))
    if len(planes) > 1:
        return table(caption, (say("what"), *columns), rows, folded=True)
    return table(caption, columns, rows, folded=True)


def _roles(plane: Plane) -> list[str]:
    return [role for role in PARENTS if role in plane.values]


def _top(plane: Plane) -> float:
    numbers = [abs(v.number) for row in plane.values.values() for v in row.values() if v.number is not None]
    return plane.top or max(numbers, default=0.0) or 1.0


def _shade(value: Value | None, top: float, diverging: bool) -> float | None:
    if value is None or value.number is None:
        return None
    share = min(abs(value.number) / top, 1.0)
    return math.copysign(share**0.5, value.number) if diverging else share if value.number > 0 else 0.0
