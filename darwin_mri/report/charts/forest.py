"""Forest plot: a mark and a whisker per model, a tick for chance, a line for the better parent or for no difference."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from darwin_mri.report import words
from darwin_mri.report.charts import svg

WIDTH, LEFT, RIGHT = 900.0, 176.0, 580.0
ROW, HEAD, GAP = 23.0, 30.0, 12.0


@dataclass(frozen=True)
class ForestRow:
    """One model or contrast. Values are fractions; ``blind`` is the smallest difference that could have been seen."""

    label: str
    role: str
    value: float
    low: float | None
    high: float | None
    text: str
    hollow: bool = False
    strong: bool = False
    blind: float | None = None


@dataclass(frozen=True)
class ForestPanel:
    """The rows of one benchmark."""

    title: str
    rows: tuple[ForestRow, ...]
    chance: float | None = None
    reference: float | None = None


@dataclass(frozen=True)
class Forest:
    """A whole forest plot; with ``signed`` values are differences and zero is drawn."""

    key: str
    title: str
    description: str
    panels: tuple[ForestPanel, ...]
    signed: bool = False


def forest(data: Forest) -> str:
    """Draw a forest plot; every value is also printed at the right, as in a meta-analysis."""
    low, high = _range(data)

    def place(value: float) -> float:
        return LEFT + (min(max(value, low), high) - low) / (high - low) * (RIGHT - LEFT)

    height = sum(HEAD + ROW * len(panel.rows) + GAP for panel in data.panels)
    body: list[str] = []
    for tick in svg.ticks(low, high):
        x = place(tick)
        zero = data.signed and tick == 0
        body.append(svg.line(x, 8, x, height - 4, "zero" if zero else "grid"))
        shown = words.signed(100 * tick, 0) if data.signed else words.fixed(100 * tick, 0)
        body.append(svg.text(x, height + 12, shown, "axis", "middle"))
    unit = "percentage points, child minus the other" if data.signed else "per cent right"
    body.append(svg.text((LEFT + RIGHT) / 2, height + 30, unit, "axis", "middle"))
    top = 0.0
    for panel in data.panels:
        body += _panel(panel, top, place)
        top += HEAD + ROW * len(panel.rows) + GAP
    return svg.drawing(data.key, WIDTH, height + 38, data.title, data.description, body)


def _range(data: Forest) -> tuple[float, float]:
    values = [0.0] if data.signed else []
    for panel in data.panels:
        values += [v for v in (panel.chance, panel.reference) if v is not None]
        for row in panel.rows:
            values += [v for v in (row.value, row.low, row.high) if v is not None]
    step = 0.02 if data.signed and max(map(abs, values)) < 0.1 else 0.1 if not data.signed else 0.05
    low = math.floor(min(values) / step - 1e-9) * step
    high = math.ceil(max(values) / step + 1e-9) * step
    if not data.signed:
        low, high = max(low, 0.0), min(high, 1.0)
    return (low, high) if high > low else (low - step, low + step)


def _panel(panel: ForestPanel, top: float, place: Callable[[float], float]) -> list[str]:
    body = [svg.line(0, top + 1, WIDTH, top + 1, "rule")] if top else []
    body.append(svg.text(0, top + 20, panel.title, "head"))
    first, last = top + HEAD, top + HEAD + ROW * len(panel.rows)
    for index, row in enumerate(panel.rows):
        if row.strong:
            body.append(svg.box(0, first + index * ROW, WIDTH, ROW, "band"))
    if panel.chance is not None:
        x = place(panel.chance)
        body += [svg.line(x, first - 4, x, last, "chance"), svg.text(x, first - 8, "chance", "tiny", "middle")]
    if panel.reference is not None:
        x = place(panel.reference)
        body += [
            svg.line(x, first - 4, x, last, "reference"),
            svg.text(x, first - 8, "better parent", "tiny", "middle"),
        ]
    for index, row in enumerate(panel.rows):
        body += _row(row, first + (index + 0.5) * ROW, place)
    return body


def _row(row: ForestRow, y: float, place: Callable[[float], float]) -> list[str]:
    x = place(row.value)
    style = "strong" if row.strong else ""
    body = []
    if row.blind is not None:
        left, right = place(-row.blind), place(row.blind)
        body.append(svg.box(left, y - 6, right - left, 12, "blind"))
    body += [svg.mark(row.role, 7, y, 4.5, row.hollow), svg.text(20, y + 4.5, _short(row.label), style)]
    if row.low is not None and row.high is not None:
        left, right = place(row.low), place(row.high)
        body.append(svg.line(left, y, right, y, f"whisker {row.role}"))
        body += [svg.line(end, y - 4, end, y + 4, f"whisker {row.role}") for end in (left, right)]
    body += [
        svg.mark(row.role, x, y, 5.5, row.hollow, f"{row.label}: {row.text}"),
        svg.text(RIGHT + 18, y + 4.5, row.text, f"value {style}".strip()),
    ]
    return body


def _short(label: str, limit: int = 22) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
