"""Small panels of lines on logarithmic axes as a static SVG: what docs/PERFORMANCE.md shows of how cost grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 240, 170, 56, 34, 40, 46
COLOURS = ("#2563a6", "#b8572a", "#4a7d3c")


@dataclass(frozen=True)
class Line:
    """One cost in one panel.

    Attributes:
        panel: the size that varies.
        name: of the cost.
        x: sizes.
        y: seconds at each size.
    """

    panel: str
    name: str
    x: Sequence[float]
    y: Sequence[float]

    @property
    def slope(self) -> float:
        """Exponent of growth between the last two points: log y against log x."""
        return math.log(self.y[-1] / self.y[-2]) / math.log(self.x[-1] / self.x[-2])


def draw(lines: Sequence[Line]) -> str:
    """An SVG with one panel per varied size, all on one scale of seconds; labels name a line's exponent of growth."""
    panels = list(dict.fromkeys(line.panel for line in lines))
    names = list(dict.fromkeys(line.name for line in lines))
    low, high = (
        math.floor(math.log10(min(min(line.y) for line in lines))),
        math.ceil(math.log10(max(max(line.y) for line in lines))),
    )
    total = LEFT + len(panels) * (WIDTH + GAP) + 70, TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total[0]} {total[1]}"'
        f' width="{total[0]}" height="{total[1]}" '
        'font-family="sans-serif" font-size="11" fill="#444" role="img"'
        ' aria-label="CPU seconds against sizes, both logarithmic">',
        f'<rect width="{total[0]}" height="{total[1]}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(
            LEFT + number * (WIDTH + GAP),
            panel,
            [line for line in lines if line.panel == panel],
            names,
            low,
            high,
            number == 0,
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(
    left: float, title: str, lines: Sequence[Line], names: Sequence[str], low: int, high: int, labelled: bool
) -> list[str]:
    ticks = sorted({x for line in lines for x in line.x})
    first, last = math.log(ticks[0]), math.log(ticks[-1])

    def across(x: float) -> float:
        return left + (WIDTH - 80) * (math.log(x) - first) / (last - first)

    def up(y: float) -> float:
        return TOP + HEIGHT * (high - math.log10(y)) / (high - low)

    parts = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        y = up(10.0**power)
        parts.append(f'<line x1="{left}" x2="{left + WIDTH - 80}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        if labelled:
            parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    parts += [f'<text x="{across(x):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{x:g}</text>' for x in ticks]
    for line in lines:
        colour = COLOURS[names.index(line.name) % len(COLOURS)]
        points = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True)]
        parts.append(
            f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"'
            f' fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        label = f"{line.name}, x^{line.slope:.1f}"
        parts.append(f'<text x="{points[-1][0] + 7:.1f}" y="{points[-1][1] + 4:.1f}" fill="{colour}">{label}</text>')
    return parts
