"""Father layers against mother layers, with the layer map drawn in."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records.roles import MOTHER, role_label
from darwin_mri.report import formats
from darwin_mri.report.charts import colours, svg
from darwin_mri.report.charts.heat import legend
from darwin_mri.translation import say


@dataclass(frozen=True)
class SimilarityMap:
    """CKA of every father layer (rows) with every mother layer (columns), the layer map and the proportional one.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        values: (father's layers, mother's layers), CKA.
        layer_map: the mother's layer for each of the father's.
        proportional: the same by relative depth.
        other: role of the other parent.
    """

    key: str
    title: str
    description: str
    values: tuple[tuple[float, ...], ...]
    layer_map: tuple[int, ...]
    proportional: tuple[int, ...]
    other: str = MOTHER


def similarity_map(data: SimilarityMap, narrow: bool = False) -> str:
    """Draw the matrix with the layer map as a line through its cells and the proportional map dashed."""
    rows, columns = len(data.values), max((len(row) for row in data.values), default=0)
    room, most = (300, 26) if narrow else (560, 58)
    cell = float(max(4 if narrow else 9, min(most, room // max(rows, columns, 1))))  # whole pixels keep files small
    left, top = (46.0, 40.0) if narrow else (58.0, 46.0)
    body = [
        svg.text(left + columns * cell / 2, 14, say("{parent} layer", parent=role_label(data.other)), "axis", "middle"),
        svg.text(12, top + rows * cell / 2, say("father layer"), "axis", "middle", -90),
    ]
    every = 1 if cell >= 20 else 2 if cell >= 12 else 4
    body += [svg.text(left + (c + 0.5) * cell, top - 6, str(c), "axis", "middle") for c in range(0, columns, every)]
    body += [svg.text(left - 6, top + (r + 0.5) * cell + 4, str(r), "axis", "end") for r in range(0, rows, every)]
    body += _cells(data, cell, left, top, hover=not narrow)

    def centres(layers: tuple[int, ...]) -> list[tuple[float, float]]:
        return [(left + (m + 0.5) * cell, top + (f + 0.5) * cell) for f, m in enumerate(layers)]

    body += [svg.path(centres(data.proportional), style) for style in ("route halo thin", "route dashed")]
    body += [svg.path(centres(data.layer_map), style) for style in ("route halo", "route")]
    if cell >= 9:
        body += [_stop(x, y) for x, y in centres(data.layer_map)]
    y = top + rows * cell + 14
    body += legend(left, y, ("0", say("1  linear CKA")), colours.CIVIDIS)
    body += _key(left, y + 32)
    width = 368.0 if narrow else max(left + columns * cell + 10, 420.0)
    key = data.key + ("-n" if narrow else "")
    return svg.drawing(key, width, y + 46, data.title, data.description, body)


def _cells(data: SimilarityMap, cell: float, left: float, top: float, hover: bool) -> list[str]:
    size = cell - (1 if cell > 6 else 0)
    places = [
        (left + c * cell, top + (r + 0.5) * cell, colours.colour(value), f"{r}, {c}: ", formats.fixed(value))
        for r, row in enumerate(data.values)
        for c, value in enumerate(row)
    ]
    if hover:
        drawn = [svg.cells(size, [svg.cell(x, y, size, fill, place + value) for x, y, fill, place, value in places])]
        if cell >= 56:  # the number stands in the corner that no map crosses
            for x, y, fill, _, value in places:
                drawn.append(svg.text(x + size - 3, y - size / 2 + 12, value, f"cell {colours.ink_on(fill)}", "end"))
        return drawn
    plain: dict[str, list[tuple[float, float, float]]] = {}
    for x, y, fill, *_ in places:
        plain.setdefault(fill, []).append((x, y, size))
    return [svg.shades(size, plain)]


def _stop(x: float, y: float) -> str:
    return f'<circle class="stop" cx="{svg.number(x)}" cy="{svg.number(y)}" r="3.4"/>'


def _key(left: float, y: float) -> list[str]:
    return [
        svg.line(left, y, left + 26, y, "route halo"),
        svg.line(left, y, left + 26, y, "route"),
        _stop(left + 13, y),
        svg.text(left + 34, y + 4, say("layer map in use"), "axis"),
        svg.line(left + 160, y, left + 186, y, "route halo thin"),
        svg.line(left + 160, y, left + 186, y, "route dashed"),
        svg.text(left + 194, y + 4, say("proportional map"), "axis"),
    ]
