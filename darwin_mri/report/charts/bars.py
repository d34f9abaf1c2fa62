"""Bars: what was won and lost item by item, to the right and to the left of a middle line, or shares of a whole."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


@dataclass(frozen=True)
class Bar:
    """One row of counts.

    Attributes:
        label: on the left.
        right: count to the right of the middle.
        left: count to the left of the middle.
        of: the number both counts are out of.
        text: printed beside the row.
        strong: whether the row stands out.
    """

    label: str
    right: int
    left: int
    of: int
    text: str
    strong: bool = False


@dataclass(frozen=True)
class BarGroup:
    """The rows of one benchmark.

    Attributes:
        title: the benchmark's name.
        bars: its rows.
    """

    title: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Bars:
    """Groups of rows on one scale.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        groups: one per benchmark.
        sides: what lies left and right of the middle.
        role: whose colour the bars have.
        shares: whether bars run from the left edge, ``right`` filled inside the outline of ``of``.
    """

    key: str
    title: str
    description: str
    groups: tuple[BarGroup, ...]
    sides: tuple[str, str]
    role: str = "child"
    shares: bool = False


HEAD, ROW, GAP = 30.0, 21.0, 10.0  # heights: of a group's title, of a row, after a group


def bars(data: Bars, narrow: bool = False) -> str:
    """Draw the bars with their counts printed beside them."""
    width = 368.0 if narrow else 960.0
    left, right = (10.0, 358.0) if narrow else (250.0, 660.0)
    row_h = 36.0 if narrow else ROW
    rows = [bar for group in data.groups for bar in group.bars]
    most = max([1, *(bar.of if data.shares else max(bar.right, bar.left) for bar in rows)])
    origin = left if data.shares else (left + right) / 2
    unit = (right - origin) / most
    body = _sides(data, left, origin, right)
    y = 24.0
    for number, group in enumerate(data.groups):
        if number:
            body.append(svg.line(0, y + 1, width, y + 1, "rule"))
        body.append(svg.text(0, y + 19, group.title, "head", room=width))
        y += HEAD
        for bar in group.bars:
            middle = y + (row_h - 9 if narrow else row_h / 2)
            body += _bar(bar, data, origin, unit, middle, hover=not narrow)
            style = "strong" if bar.strong else ""
            label_y = y + 13 if narrow else middle + 4.5
            room = width - svg.width_of(bar.text, 12.5) - 20 if narrow else left - 12
            body.append(svg.text(0, label_y, bar.label, style, room=room))
            x, anchor = (width, "end") if narrow else (right + 18, "start")
            body.append(svg.text(x, label_y, bar.text, "value", anchor, room=width - right - 18 if not narrow else 300))
            y += row_h
        y += GAP
    if not data.shares:
        body.append(svg.line(origin, 24, origin, y - GAP, "zero"))
    return svg.drawing(data.key + ("-n" if narrow else ""), width, y, data.title, data.description, body)


def _sides(data: Bars, left: float, origin: float, right: float) -> list[str]:
    if data.shares:
        return [
            svg.box(left, 4, 18, 11, f"bar {data.role}"),
            svg.text(left + 25, 14, data.sides[1], "axis"),
            svg.box(left + 190, 4, 18, 11, "outline"),
            svg.text(left + 215, 14, data.sides[0], "axis"),
        ]
    return [
        svg.text(origin - 10, 14, data.sides[0], "axis", "end", room=origin - left),
        svg.text(origin + 10, 14, data.sides[1], "axis", room=right - origin),
    ]


def _bar(bar: Bar, data: Bars, origin: float, unit: float, middle: float, hover: bool) -> list[str]:
    title = f"{bar.label}: {bar.text}" if hover else ""
    if data.shares:
        return [
            svg.box(origin, middle - 6, bar.of * unit, 12, "outline", title=title),
            svg.box(origin, middle - 6, bar.right * unit, 12, f"bar {data.role}", title=title),
        ]
    drawn = [svg.box(origin, middle - 6, bar.right * unit, 12, f"bar {data.role}", title=title)]
    if bar.left:
        drawn.append(svg.box(origin - bar.left * unit, middle - 6, bar.left * unit, 12, "bar lost", title=title))
    return drawn


def share(part: int, whole: int) -> str:
    """``12 of 40, 30.0 %``."""
    if not whole:
        return say("0 of 0{absent}", absent=formats.ABSENT)
    return say("{part} of {whole}, {share}", part=part, whole=whole, share=formats.percent(part / whole))
