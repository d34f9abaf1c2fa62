"""Forest plot: a mark and a whisker per row, lines for chance, reference and zero, every value printed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say

DENSE = 16  # rows of one panel above which they stand closer together


@dataclass(frozen=True)
class ForestRow:
    """One model, contrast or layer.

    Attributes:
        label: on the left.
        role: whose mark and colour it has.
        value: where the mark stands.
        low: lower end of the whisker.
        high: upper end of the whisker.
        text: printed beside the plot.
        more: printed after the text where there is room.
        hollow: whether the mark is not filled.
        strong: whether the row stands out.
        blind: the smallest difference that could have been seen.
    """

    label: str
    role: str
    value: float
    low: float | None
    high: float | None
    text: str
    more: str = ""
    hollow: bool = False
    strong: bool = False
    blind: float | None = None


@dataclass(frozen=True)
class ForestPanel:
    """The rows of one benchmark.

    Attributes:
        title: the benchmark's name.
        rows: from top to bottom.
        chance: drawn as an upright line across the rows.
        reference: drawn as an upright line across the rows.
        reference_label: its name.
    """

    title: str
    rows: tuple[ForestRow, ...]
    chance: float | None = None
    reference: float | None = None
    reference_label: str = "better parent"


@dataclass(frozen=True)
class Forest:
    """A whole forest plot.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        panels: from top to bottom.
        signed: whether values are differences; zero is drawn and signs are printed.
        unit: under the axis.
        scale: values are drawn times this.
        legend: whether filled and hollow marks are explained.
    """

    key: str
    title: str
    description: str
    panels: tuple[ForestPanel, ...]
    signed: bool = False
    unit: str = "per cent right"
    scale: float = 100.0
    legend: bool = False


@dataclass(frozen=True)
class Frame:
    """Where things stand: side by side on wide screens, label and value above the plot on narrow ones.

    Attributes:
        width: of the drawing.
        left: left edge of the plot.
        right: right edge of the plot.
        row: height of a row.
        narrow: whether the screen is.
    """

    width: float
    left: float
    right: float
    row: float
    narrow: bool = False

    def middle(self, top: float) -> float:
        """Height of the marks of a row that starts at ``top``."""
        return top + (self.row - 11 if self.narrow else self.row / 2)


def forest(data: Forest, narrow: bool = False) -> str:
    """Draw a forest plot."""
    dense = max((len(panel.rows) for panel in data.panels), default=0) > DENSE
    frame = Frame(368, 8, 360, 38, True) if narrow else Frame(960, 190, 586, 17 if dense else 23)
    low, high = _range(data)

    def place(value: float) -> float:
        return frame.left + (min(max(value, low), high) - low) / (high - low) * (frame.right - frame.left)

    start = 24.0 if data.legend else 0.0
    height = start + sum(_height(panel, frame) for panel in data.panels)
    reference = data.panels[0].reference_label if data.panels else ""
    guessing = any(panel.chance is not None for panel in data.panels)
    body = [*(_legend(reference, guessing) if data.legend else []), *_bands(data.panels, start, frame)]
    spans = [(start + 8, height - 4)]
    if frame.narrow:  # lines keep clear of the words above each row's plot
        spans = _plots(data.panels, start, frame)
    steps = svg.ticks(low, high, 5 if narrow else 6)
    digits = svg.digits([data.scale * tick for tick in steps])
    for tick in steps:
        x = place(tick)
        zero = data.signed and abs(tick) < 1e-12
        body.append(svg.uprights(x, spans, "zero" if zero else "grid"))
        shown = (formats.signed if data.signed else formats.fixed)(data.scale * tick, digits)
        body.append(svg.text(x, height + 12, shown, "axis", _anchor(x, frame)))
    body.append(svg.text((frame.left + frame.right) / 2, height + 30, data.unit, "axis", "middle"))
    top = start
    for panel in data.panels:
        body += _panel(panel, top, place, frame, first=top == start)
        top += _height(panel, frame)
    return svg.drawing(
        data.key + ("-n" if narrow else ""), frame.width, height + 38, data.title, data.description, body
    )


HEAD, GAP = 32.0, 12.0


def _bands(panels: tuple[ForestPanel, ...], top: float, frame: Frame) -> list[str]:
    """A quiet ground under the rows that stand out, below every line."""
    body = []
    for panel in panels:
        for index, row in enumerate(panel.rows):
            if row.strong:
                body.append(svg.box(0, top + HEAD + index * frame.row, frame.width, frame.row, "band"))
        top += _height(panel, frame)
    return body


def _plots(panels: tuple[ForestPanel, ...], top: float, frame: Frame) -> list[tuple[float, float]]:
    """From where to where upright lines may run: the whole of a panel, or on narrow screens each row's plot alone."""
    spans = []
    for panel in panels:
        first = top + HEAD
        if frame.narrow:
            spans += [(first + i * frame.row + 18, first + (i + 1) * frame.row) for i in range(len(panel.rows))]
        else:
            spans.append((first - 4, first + frame.row * len(panel.rows)))
        top += _height(panel, frame)
    return spans


def _height(panel: ForestPanel, frame: Frame) -> float:
    return HEAD + frame.row * len(panel.rows) + GAP


def _anchor(x: float, frame: Frame) -> str:
    """Outermost tick labels of a narrow plot stay inside the drawing."""
    if frame.narrow and x < 16:
        return "start"
    return "end" if frame.narrow and x > frame.width - 16 else "middle"


def _legend(reference: str, guessing: bool) -> list[str]:
    left = 272 if guessing else 196
    chance = [svg.line(196, 2, 196, 16, "chance"), svg.text(204, 13, say("guessing"), "axis")]
    return [
        svg.mark("baseline", 7, 9, 4.5),
        svg.line(0, 9, 2.5, 9, "whisker baseline"),
        svg.line(11.5, 9, 14, 9, "whisker baseline"),
        svg.text(20, 13, say("hollow: not measured here"), "axis"),
        *(chance if guessing else []),
        svg.line(left, 2, left, 16, "reference"),
        svg.text(left + 8, 13, reference, "axis"),
    ]


def _range(data: Forest) -> tuple[float, float]:
    values = [0.0] if data.signed else []
    for panel in data.panels:
        values += [v for v in (panel.chance, panel.reference) if v is not None]
        for row in panel.rows:
            values += [v for v in (row.value, row.low, row.high) if v is not None]
            values += [] if row.blind is None else [-row.blind, row.blind]
    values = values or [0.0, 1.0]
    spread = max(values) - min(values)
    step = 10.0 ** math.floor(math.log10(spread)) / 2 if spread > 0 else 0.1
    low = math.floor(min(values) / step - 1e-9) * step
    high = math.ceil(max(values) / step + 1e-9) * step
    if not data.signed and data.scale == 100.0:
        low, high = max(low, 0.0), min(high, 1.0)
    return (low, high) if high > low else (low - step, low + step)


def _panel(
    panel: ForestPanel, top: float, place: Callable[[float], float], frame: Frame, first: bool = False
) -> list[str]:
    body = [] if first else [svg.line(0, top + 1, frame.width, top + 1, "rule")]
    start = top + HEAD
    body.append(svg.text(0, top + 20, panel.title, "head", room=frame.width if frame.narrow else frame.left - 6))
    spans = _plots((panel,), top, frame)
    if panel.chance is not None:
        body.append(svg.uprights(place(panel.chance), spans, "chance"))
    if panel.reference is not None:
        body.append(svg.uprights(place(panel.reference), spans, "reference"))
    body += _captions(panel, start - 8, place, frame)
    for index, row in enumerate(panel.rows):
        body += _row(row, start + index * frame.row, place, frame)
    return body


def _captions(panel: ForestPanel, y: float, place: Callable[[float], float], frame: Frame) -> list[str]:
    """Names of the upright lines, left out where they would touch; the legend says them too."""
    if frame.narrow:
        return []
    marks = [(panel.chance, say("chance")), (panel.reference, panel.reference_label)]
    known = [(place(value), name) for value, name in marks if value is not None]
    if len(known) == 2 and abs(known[0][0] - known[1][0]) < 78:
        known = known[1:]
    return [svg.text(x, y, name, "tiny", "middle") for x, name in known]


def _row(row: ForestRow, top: float, place: Callable[[float], float], frame: Frame) -> list[str]:
    x, y = place(row.value), frame.middle(top)
    style = "strong" if row.strong else ""
    label_y = top + 13 if frame.narrow else y + 4.5
    body = []
    if row.blind is not None:
        left, right = place(-row.blind), place(row.blind)
        body.append(svg.box(left, y - 6, right - left, 12, "blind"))
    room = frame.width - svg.width_of(row.text, 12.5) - 34 if frame.narrow else frame.left - 30
    body += [
        svg.mark(row.role, 7, label_y - 4.5, 4.5, row.hollow),
        svg.text(20, label_y, row.label, style, room=room),
    ]
    if row.low is not None and row.high is not None:
        left, right = place(row.low), place(row.high)
        body.append(svg.line(left, y, right, y, f"whisker {row.role}"))
        body += [svg.line(end, y - 4, end, y + 4, f"whisker {row.role}") for end in (left, right)]
    whole = f"{row.text}  {row.more}".rstrip()
    body.append(svg.mark(row.role, x, y, 5.5, row.hollow, "" if frame.narrow else f"{row.label}: {whole}"))
    if frame.narrow:
        body.append(svg.text(frame.width, label_y, row.text, f"value {style}".strip(), "end"))
    else:
        room = frame.width - frame.right - 18
        body.append(svg.text(frame.right + 18, label_y, whole, f"value {style}".strip(), room=room))
    return body
