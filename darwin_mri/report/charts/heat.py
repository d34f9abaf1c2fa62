"""Heat maps of layers against channels: one model, two with the layer map drawn between them, or several in rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import colours, svg
from darwin_mri.translation import say

Numbers = tuple[tuple[float | None, ...], ...]
Texts = tuple[tuple[str, ...], ...]

ROOMY = 16  # rows up to which cells are high enough to print in


@dataclass(frozen=True)
class HeatPanel:
    """One model: layers as rows, channels as columns.

    Attributes:
        title: the model's role and name.
        rows: labels of the layers.
        layers: numbers of the layers.
        shades: (layers, columns) in [0, 1], or in [-1, 1] when the map is diverging; None is not measured.
        texts: (layers, columns), printed in the cells where there is room.
        details: (layers, columns), shown on hover.
        columns: of this panel alone, where the map's own do not fit both.
        frozen: rows that are hatched.
        hatched: (row, column) of cells that are hatched, without a shade.
        strip: a share per row, drawn as a bar beside its label.
        strip_title: its name.
    """

    title: str
    rows: tuple[str, ...]
    layers: tuple[str, ...]
    shades: Numbers
    texts: Texts
    details: Texts
    columns: tuple[str, ...] = ()
    frozen: tuple[int, ...] = ()
    hatched: frozenset[tuple[int, int]] = frozenset()
    strip: tuple[float | None, ...] = ()
    strip_title: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Panels over the same columns.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        columns: names of the channels.
        panels: one per model.
        legend: words for the two ends of the colour scale.
        diverging: whether shades have a sign.
        breaks: columns with a gap before them.
        links: the layer map: (row of the first panel, row of the second, strength in [0, 1]).
        matrix: whether panels stand one below the other and columns may be many: parents against layers.
    """

    key: str
    title: str
    description: str
    columns: tuple[str, ...]
    panels: tuple[HeatPanel, ...]
    legend: tuple[str, str]
    diverging: bool = False
    breaks: tuple[int, ...] = ()
    links: tuple[tuple[int, int, float], ...] = ()
    matrix: bool = False

    @property
    def paired(self) -> bool:
        """Whether two panels stand side by side, the labels of the second to its right."""
        return len(self.panels) == 2 and not self.matrix


@dataclass(frozen=True)
class Grid:
    """Where one panel's cells stand.

    Attributes:
        left: left edge of the first column.
        top: top of the first row.
        cell_w: width of a cell.
        cell_h: height of a cell.
        breaks: columns with a gap before them.
        columns: how many there are.
    """

    left: float
    top: float
    cell_w: float
    cell_h: float
    breaks: tuple[int, ...]
    columns: int

    def x(self, column: int) -> float:
        """Left edge of a column."""
        return self.left + column * self.cell_w + 6 * sum(b <= column for b in self.breaks)

    def middle(self, row: int) -> float:
        """Height of the middle of a row."""
        return self.top + (row + 0.5) * self.cell_h

    @property
    def right(self) -> float:
        """Right edge of the last column."""
        return self.x(self.columns - 1) + self.cell_w if self.columns else self.left


WIDTH, LABELS, STRIP, LINKS, SLANTED, APART = 960.0, 76.0, 46.0, 96.0, 92.0, 18.0


def heat_map(data: HeatMap, narrow: bool = False) -> str:
    """Draw a heat map; small ones print the number in each cell.

    Wide ones also say it on hover; narrow ones stand one below the other.
    """
    names = [*data.columns, *(name for panel in data.panels for name in panel.columns)]
    longest = max((svg.width_of(name, 11.5) for name in names), default=0)
    slanted = longest > 30
    head = 24.0 + (74.0 if slanted else 22.0)
    overhang = 0.68 * min(longest, SLANTED) - 8 if slanted else 0.0  # of the last slanted name, to the right
    if narrow:
        grids = _narrow_grids(data, head, overhang)
    elif data.matrix or len(data.panels) > 2:
        grids = _many_grids(data, head, overhang)
    else:
        grids = _wide_grids(data, head)
    printed = _room_for_numbers(data, grids)
    body: list[str] = []
    for number, (panel, grid) in enumerate(zip(data.panels, grids, strict=True)):
        second = not narrow and data.paired and number == 1
        room = 368.0 - grid.left if narrow else _room_for_title(grids, number, alone=len(grids) < 3)
        body.append(svg.text(grid.left, grid.top - head + 14, panel.title, "strong", room=room))
        body += _column_heads(panel.columns or data.columns, grid, slanted)
        body += _row_labels(panel, grid, second)
        body += _cells(data, panel, grid, hover=not narrow, printed=printed)
    if not narrow and data.paired:
        body += _links(data, grids[0], grids[1])
    bottom = max(grid.top + grid.cell_h * len(panel.rows) for panel, grid in zip(data.panels, grids, strict=True))
    first = grids[0] if grids else Grid(LABELS, head, 30, 20, (), 0)
    body += legend(
        0 if narrow else first.left, bottom + 14, data.legend, colours.DIVERGING if data.diverging else colours.CIVIDIS
    )
    width = 368.0 if narrow else max([WIDTH, *(grid.right + LABELS for grid in grids)])
    return svg.drawing(data.key + ("-n" if narrow else ""), width, bottom + 34, data.title, data.description, body)


def _room_for_title(grids: list[Grid], number: int, alone: bool) -> float:
    """Up to the next panel of the same row, or the edge."""
    grid, following = grids[number], grids[number + 1 : number + 2]
    if following and following[0].top == grid.top:
        return following[0].left - 10 - grid.left
    return 470.0 if alone else max(WIDTH - grid.left, 90.0)


def _many_grids(data: HeatMap, head: float, overhang: float) -> list[Grid]:
    """As many panels in a row as have room at the least width of a cell, rows equally full."""
    strips = STRIP if any(panel.strip for panel in data.panels) else 0.0
    left, count = LABELS + strips, max(_counts(data))
    breaks = 6.0 * len(data.breaks)
    gap = max(APART, overhang)
    least = max(left + 22 * count + breaks, 250)  # below that a title has no room
    fitting = 1 if data.matrix else int((WIDTH + gap) / (least + gap))
    fitting = min(max(fitting, 1), max(len(data.panels), 1))
    in_row = math.ceil(len(data.panels) / math.ceil(len(data.panels) / fitting)) if data.panels else 1
    cell_w = float(max(22, min(46, int(((WIDTH + gap) / in_row - gap - left - breaks) / count))))
    step = max(left + cell_w * count + breaks + gap, (WIDTH + gap) / in_row)
    grids, top = [], head
    for start in range(0, len(data.panels), in_row):
        row = data.panels[start : start + in_row]
        most = max(len(panel.rows) for panel in row)
        cell_h = 24.0 if most <= ROOMY else 14.0
        counts = [max(len(panel.columns or data.columns), 1) for panel in row]
        grids += [Grid(left + i * step, top, cell_w, cell_h, data.breaks, n) for i, n in enumerate(counts)]
        top += cell_h * most + head + 14
    return grids


def _wide_grids(data: HeatMap, head: float) -> list[Grid]:
    """Both panels equally high, however many layers each has: what stands level is at the same relative depth."""
    counts = _counts(data)
    most = max((len(panel.rows) for panel in data.panels), default=1)
    height = most * (24.0 if most <= ROOMY else 14.0)
    strips = STRIP if any(panel.strip for panel in data.panels) else 0.0
    room = (WIDTH - LABELS - strips) if len(data.panels) < 2 else (WIDTH - 2 * LABELS - strips - LINKS) / 2
    cell_w = float(max(22, min(46, int((room - 6 * len(data.breaks)) / max(counts)))))
    first = Grid(LABELS + strips, head, cell_w, 0, data.breaks, counts[0])
    lefts = [first.left, max(first.right + LINKS, first.left + 250)]  # below that the first title has no room
    return [
        Grid(left, head, cell_w, min(height / max(len(panel.rows), 1), 96.0), data.breaks, count)
        for left, panel, count in zip(lefts, data.panels, counts, strict=False)
    ]


def _counts(data: HeatMap) -> list[int]:
    """Columns of each panel."""
    return [max(len(panel.columns or data.columns), 1) for panel in data.panels] or [1]


def _narrow_grids(data: HeatMap, head: float, overhang: float) -> list[Grid]:
    grids, top = [], head
    for panel, count in zip(data.panels, _counts(data), strict=False):
        left = 80.0 + (STRIP - 8 if panel.strip else 0)
        cell_w = float(min(40, int((366 - overhang - left - 6 * len(data.breaks)) / count)))
        cell_h = 20.0 if len(panel.rows) <= ROOMY else 9.0
        grids.append(Grid(left, top, max(cell_w, 4.0), cell_h, data.breaks, count))
        top += cell_h * len(panel.rows) + head + 14
    return grids


def _column_heads(columns: tuple[str, ...], grid: Grid, slanted: bool) -> list[str]:
    body = []
    widest = max((svg.width_of(name, 11.5) for name in columns), default=0)
    every = 1 if slanted else max(1, math.ceil((widest + 3) / grid.cell_w))
    for index, name in enumerate(columns):
        if index % every:
            continue
        middle = grid.x(index) + grid.cell_w / 2
        if slanted:
            body.append(svg.text(middle + 3, grid.top - 7, name, "axis", turn=-48, room=SLANTED))
        else:
            body.append(svg.text(middle, grid.top - 7, name, "axis", "middle"))
    return body


def _row_labels(panel: HeatPanel, grid: Grid, second: bool) -> list[str]:
    """Labels left of the first panel and right of the second, with the layer map between; few of many layers."""
    body = []
    every = 1 if grid.cell_h >= 12 else 2
    if panel.strip and not second:
        body.append(svg.text(grid.left - STRIP + 2, grid.top - 7, panel.strip_title, "tiny"))
    for index, name in enumerate(panel.rows):
        y = grid.middle(index)
        frozen = index in panel.frozen
        if frozen:
            x = grid.right + 3 if second else grid.left - 11
            body.append(
                svg.hatch(
                    x,
                    y - grid.cell_h / 2,
                    8,
                    grid.cell_h - 1,
                    say("layer {index}: frozen", index=panel.layers[index]),
                    5,
                )
            )
        if panel.strip and not second:
            body += _strip(panel.strip[index], grid, y)
        if index % every:
            continue
        style = "axis strong" if frozen else "axis"
        if second:
            body.append(svg.text(grid.right + (14 if panel.frozen else 8), y + 4, name, style, room=LABELS - 12))
        else:
            x = grid.left - (STRIP if panel.strip else 14 if panel.frozen else 8)
            body.append(svg.text(x - 4, y + 4, name, style, "end", room=x - 6))
    return body


def _strip(share: float | None, grid: Grid, y: float) -> list[str]:
    if share is None:
        return []
    left, width, height = grid.left - STRIP + 2, STRIP - 16, min(grid.cell_h - 4, 9.0)
    title = say("frozen in {share} of resamples", share=formats.percent(share))
    return [
        svg.box(left, y - height / 2, width, height, "slot", title=title),
        svg.box(left, y - height / 2, width * share, height, "trust"),
    ]


def _room_for_numbers(data: HeatMap, grids: list[Grid]) -> bool:
    """Whether every number of every panel fits its cell: all panels print them or none."""
    texts = [text for panel in data.panels for row in panel.texts for text in row]
    longest = max((svg.width_of(text, 10.5) for text in texts), default=0)
    return all(grid.cell_h >= 17 and longest <= grid.cell_w - 1 for grid in grids)


def _cells(data: HeatMap, panel: HeatPanel, grid: Grid, hover: bool, printed: bool) -> list[str]:
    """Every cell, with its number where it is to be printed and a text on hover."""
    names = panel.columns or data.columns
    fills: list[str] = []
    plain: dict[str, list[tuple[float, float, float]]] = {}
    empty, labels = [], []
    height = grid.cell_h - (1 if grid.cell_h > 6 else 0)
    for r, row in enumerate(panel.shades):
        y = grid.middle(r)
        for c, shade in enumerate(row):
            x, width = grid.x(c), grid.cell_w - 1
            title = f"{panel.layers[r]}, {names[c]}: {panel.details[r][c]}"
            if shade is None:
                where, title = (x, y - grid.cell_h / 2, width, height), title if hover else ""
                hatched = (r, c) in panel.hatched
                empty.append(svg.hatch(*where, title, 5) if hatched else svg.box(*where, "absent", title=title))
                continue
            fill = colours.colour((shade + 1) / 2, colours.DIVERGING) if data.diverging else colours.colour(shade)
            if hover:
                fills.append(svg.cell(x, y, width, fill, title))
            else:
                plain.setdefault(fill, []).append((x, y, width))
            if printed:
                ink = colours.ink_on(fill)
                labels.append(svg.text(x + grid.cell_w / 2 - 0.5, y + 3.5, panel.texts[r][c], f"cell {ink}", "middle"))
    return [*empty, svg.cells(height, fills) if hover else svg.shades(height, plain), *labels]


def _links(data: HeatMap, first: Grid, second: Grid) -> list[str]:
    """The layer map as curves between the panels; the stronger the likeness, the darker."""
    left = first.right + 3
    right = second.left - 5
    bend = (right - left) / 2
    body = []
    for r, c, strength in data.links:
        y1, y2 = first.middle(r), second.middle(c)
        style = "link" if strength >= 0.5 else "link weak" if strength >= 0.2 else "link faint"
        points = ((left, y1), (left + bend, y1), (right - bend, y2), (right, y2))
        start, *rest = (f"{svg.number(x)} {svg.number(y)}" for x, y in points)
        d = f"M{start}C{' '.join(rest)}"
        body.append(f'<path class="{style}" d="{d}"/>')
    if data.links:
        middle = (left + right) / 2
        body.append(svg.text(middle, first.top - 7, say("layer map"), "tiny", "middle"))
    return body


def legend(x: float, y: float, ends: tuple[str, str], scale: tuple[str, ...], steps: int = 24) -> list[str]:
    """A colour bar between the words for its two ends.

    Args:
        x: left edge.
        y: top.
        ends: the words.
        scale: hex colours at equal steps.
        steps: pieces of the bar.

    Returns:
        SVG elements.
    """
    low, high = ends
    left = x + svg.width_of(low, 11.5) + 4
    bars = {colours.colour(i / (steps - 1), scale): [(left + 5 * i, y + 5.5, 5.3)] for i in range(steps)}
    right = left + 5 * steps + 7
    return [svg.text(x, y + 9, low, "axis"), svg.shades(11, bars), svg.text(right, y + 9, high, "axis")]
