"""Heat maps: layers against channels, and father layers against mother layers with the layer map drawn in."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.report import words
from darwin_mri.report.charts import svg


@dataclass(frozen=True)
class HeatMap:
    """Layers as rows, channels as columns.

    ``shades`` are in [0, 1], or in [-1, 1] when ``diverging``; None is not measured. ``texts`` go into the cells where there
    is room, ``details`` into their hover text. ``frozen`` rows are hatched at the edge; ``breaks`` are columns with a gap before.
    """

    key: str
    title: str
    description: str
    rows: tuple[str, ...]
    layers: tuple[int, ...]
    columns: tuple[str, ...]
    shades: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    details: tuple[tuple[str, ...], ...]
    legend: tuple[str, str]
    diverging: bool = False
    frozen: tuple[int, ...] = ()
    breaks: tuple[int, ...] = ()


@dataclass(frozen=True)
class SimilarityMap:
    """CKA of every father layer (rows) with every mother layer (columns), the layer map and the proportional one."""

    key: str
    title: str
    description: str
    values: tuple[tuple[float, ...], ...]
    layer_map: tuple[int, ...]
    proportional: tuple[int, ...]


LEFT = 84.0
ROOMY = 16  # rows up to which cells are high enough to print in


def heat_map(data: HeatMap) -> str:
    """Draw a heat map; small ones print the number in each cell, all of them on hover."""
    roomy = len(data.rows) <= ROOMY
    slanted = max(map(len, data.columns), default=0) > 5
    head = 70.0 if slanted else 22.0
    cell_h = 24.0 if roomy else 14.0
    cell_w = float(max(30, min(48, 380 // max(len(data.columns), 1))))
    xs = [LEFT + c * cell_w + 8 * sum(b <= c for b in data.breaks) for c in range(len(data.columns))]
    width = (xs[-1] if xs else LEFT) + cell_w + 34
    bottom = head + cell_h * len(data.rows)
    body = []
    for x, name in zip(xs, data.columns, strict=True):
        middle = x + cell_w / 2
        body.append(
            svg.text(middle + 3, head - 7, name, "axis", "start", -42)
            if slanted
            else svg.text(middle, head - 7, name, "axis", "middle")
        )
    fills, labels = [], []
    for r, name in enumerate(data.rows):
        y = head + r * cell_h
        if r in data.frozen:
            body.append(svg.hatch(1, y + 1, 15, cell_h - 3, f"layer {name}: frozen", 5))
        body.append(svg.text(LEFT - 10, y + cell_h / 2 + 4, name, "axis", "end"))
        for c, x in enumerate(xs):
            shade = data.shades[r][c]
            title = f"{data.layers[r]}, {data.columns[c]}: {data.details[r][c]}"
            if shade is None:
                body.append(svg.box(x, y, cell_w - 1, cell_h - 1, "absent", title=title))
                continue
            fill = svg.colour((shade + 1) / 2, svg.DIVERGING) if data.diverging else svg.colour(shade)
            fills.append(svg.cell(x, y + cell_h / 2, cell_w - 1, fill, title))
            if roomy:
                labels.append(
                    svg.text(
                        x + cell_w / 2, y + cell_h / 2 + 3.5, data.texts[r][c], f"cell {svg.ink_on(fill)}", "middle"
                    )
                )
    body += [svg.cells(cell_h - 1, fills), *labels]
    scale = svg.DIVERGING if data.diverging else svg.CIVIDIS
    body += _legend(LEFT, bottom + 14, data.legend, scale)
    return svg.drawing(data.key, width, bottom + 34, data.title, data.description, body)


def _legend(x: float, y: float, ends: tuple[str, str], scale: tuple[str, ...], steps: int = 24) -> list[str]:
    low, high = ends
    left = x + 6.2 * len(low) + 8
    body = [svg.text(x, y + 9, low, "axis")]
    for i in range(steps):
        body.append(svg.box(left + 5 * i, y, 5.3, 11, fill=svg.colour(i / (steps - 1), scale)))
    return [*body, svg.text(left + 5 * steps + 7, y + 9, high, "axis")]


def similarity_map(data: SimilarityMap) -> str:
    """Draw the matrix with the layer map as a line through its cells and the proportional map dashed."""
    rows, columns = len(data.values), max((len(row) for row in data.values), default=0)
    cell = float(max(13, min(40, 460 // max(rows, columns, 1))))  # whole pixels keep big matrices small files
    left, top = 58.0, 46.0
    body = [
        svg.text(left + columns * cell / 2, 14, "mother layer", "axis", "middle"),
        svg.text(14, top + rows * cell / 2, "father layer", "axis", "middle", -90),
    ]
    every = 1 if cell >= 20 else 2
    body += [svg.text(left + (c + 0.5) * cell, top - 6, str(c), "axis", "middle") for c in range(0, columns, every)]
    body += [svg.text(left - 8, top + (r + 0.5) * cell + 4, str(r), "axis", "end") for r in range(0, rows, every)]
    fills = [
        svg.cell(
            left + c * cell, top + (r + 0.5) * cell, cell - 1, svg.colour(value), f"{r}, {c}: {words.fixed(value)}"
        )
        for r, row in enumerate(data.values)
        for c, value in enumerate(row)
    ]
    body.append(svg.cells(cell - 1, fills))

    def centres(layers: tuple[int, ...]) -> list[tuple[float, float]]:
        return [(left + (m + 0.5) * cell, top + (f + 0.5) * cell) for f, m in enumerate(layers)]

    body += [svg.path(centres(data.proportional), style) for style in ("route halo thin", "route dashed")]
    body += [svg.path(centres(data.layer_map), style) for style in ("route halo", "route")]
    body += [
        f'<circle class="stop" cx="{svg.number(x)}" cy="{svg.number(y)}" r="3.4"/>' for x, y in centres(data.layer_map)
    ]
    bottom, right = top + rows * cell, max(left + columns * cell, 400.0)
    body += _legend(left, bottom + 14, ("0", "1  linear CKA"), svg.CIVIDIS)
    y = bottom + 46
    body += [svg.line(left, y, left + 26, y, "route halo"), svg.line(left, y, left + 26, y, "route")]
    body += [
        f'<circle class="stop" cx="{svg.number(left + 13)}" cy="{svg.number(y)}" r="3.4"/>',
        svg.text(left + 34, y + 4, "layer map in use", "axis"),
    ]
    body += [
        svg.line(left + 160, y, left + 186, y, "route halo thin"),
        svg.line(left + 160, y, left + 186, y, "route dashed"),
    ]
    body.append(svg.text(left + 194, y + 4, "proportional map", "axis"))
    return svg.drawing(data.key, right + 10, bottom + 60, data.title, data.description, body)
