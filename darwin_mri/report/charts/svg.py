"""The few SVG pieces every chart is made of. Colours are CSS classes, so that light, dark and print can differ."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from unicodedata import east_asian_width

from darwin_mri.report.formats import clean, language
from darwin_mri.translation import spoken


def escape(text: str) -> str:
    """Text from outside, safe between tags and in quoted attributes."""
    return html.escape(clean(text))


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def drawing(key: str, width: float, height: float, title: str, description: str, body: Iterable[str]) -> str:
    """A whole SVG that a screen reader can name and describe.

    Args:
        key: unique in the page.
        width: in pixels.
        height: in pixels.
        title: the name of the chart.
        description: for readers who cannot see it.
        body: SVG elements.

    Returns:
        one ``<svg>`` element.
    """
    w, h = number(width), number(height)
    return (
        f'<svg class="chart" role="img" aria-labelledby="{key}-t {key}-d" viewBox="0 0 {w} {h}" width="{w}"'
        f' height="{h}" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>'
        f"{''.join(body)}</svg>"
    )


def width_of(words: str, size: float = 13.0) -> float:
    """A generous estimate of how wide a text is set, in pixels.

    Fonts differ, and a label must not run into its neighbour.
    """
    return size * sum(_em(c) for c in words)


def _em(character: str) -> float:
    """Width of one character in ems, on the wide side of common fonts."""
    if character in " .,:;|'il":
        return 0.34
    return 1.0 if character in "%mwMW@" or east_asian_width(character) in "WF" else 0.64


SIZES = {"axis": 11.5, "tiny": 10.5, "cell": 10.5, "value": 12.5}  # as in report.css


def size_of(style: str) -> float:
    """Font size of a text class; bold text counts a little more, since it is set wider."""
    classes = style.split()
    size = next((SIZES[name] for name in classes if name in SIZES), 13.0)
    return size * (1.08 if {"strong", "head"} & set(classes) else 1.0)


def fit(words: str, room: float, size: float = 13.0) -> str:
    """The text, cut with an ellipsis where it would be wider than ``room`` pixels.

    Args:
        words: the text.
        room: width in pixels.
        size: of the font in pixels.

    Returns:
        the text, or as much of it as fits and an ellipsis.
    """
    words = clean(words)
    if width_of(words, size) <= room:
        return words
    while words and width_of(words, size) > room - size:
        words = words[: -max(1, len(words) // 8)]
    return words + "\N{HORIZONTAL ELLIPSIS}"


def text(
    x: float, y: float, words: str, style: str = "", anchor: str = "start", turn: float = 0, room: float = math.inf
) -> str:
    """One line of text; wider than ``room`` it is cut and the whole is shown on hover.

    Args:
        x: of the anchor point.
        y: of the baseline.
        words: the text.
        style: class of the element.
        anchor: start, middle or end.
        turn: degrees about the anchor point.
        room: width in pixels that the text may take.

    Returns:
        one ``<text>`` element.
    """
    shown = words if room == math.inf else fit(words, room, size_of(style))
    extra = f' class="{style}"' if style else ""
    extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
    extra += f' transform="rotate({number(turn)} {number(x)} {number(y)})"' if turn else ""
    tag = "" if words.isascii() else language(words)
    tag = "" if tag == spoken() else tag
    extra += f' lang="{tag}"' if tag else ""
    whole = f"<title>{escape(words)}</title>" if shown != words and shown != clean(words) else ""
    return f'<text x="{number(x)}" y="{number(y)}"{extra}>{whole}{escape(shown)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line.

    Args:
        x1: of the start.
        y1: of the start.
        x2: of the end.
        y2: of the end.
        style: class of the element.

    Returns:
        one ``<path>`` element.
    """
    return f'<path class="{style}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"/>'


def uprights(x: float, spans: Iterable[tuple[float, float]], style: str) -> str:
    """An upright line in pieces.

    Args:
        x: where it stands.
        spans: from one height to another, for each piece.
        style: class of the element.

    Returns:
        one ``<path>`` element.
    """
    return f'<path class="{style}" d="{"".join(f"M{number(x)} {number(a)}V{number(b)}" for a, b in spans)}"/>'


def path(points: Sequence[tuple[float, float]], style: str) -> str:
    """A line through points."""
    if not points:
        return ""
    return f'<path class="{style}" d="M{"L".join(f"{number(x)} {number(y)}" for x, y in points)}"/>'


def box(x: float, y: float, width: float, height: float, style: str = "", fill: str = "", title: str = "") -> str:
    """A rectangle, with a text that shows on hover.

    Args:
        x: left edge.
        y: top.
        width: in pixels.
        height: in pixels.
        style: class of the element.
        fill: hex colour.
        title: shown on hover.

    Returns:
        one ``<path>`` element.
    """
    shape = f'<path d="M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"'
    shape += f' class="{style}"' if style else ""
    shape += f' fill="{fill}"' if fill else ""
    return f"{shape}><title>{escape(title)}</title></path>" if title else f"{shape}/>"


def cells(height: float, drawn: Iterable[str]) -> str:
    """A group of ``cell``: they are strokes as wide as a row is high, which takes fewer bytes than rectangles."""
    return f'<g fill="none" stroke-width="{number(height)}">{"".join(drawn)}</g>'


def cell(x: float, y: float, width: float, colour: str, title: str) -> str:
    """A coloured cell with a text that shows on hover.

    Args:
        x: left edge.
        y: middle.
        width: in pixels.
        colour: hex colour.
        title: shown on hover.

    Returns:
        one ``<path>`` element; its height is that of its group.
    """
    return f'<path d="M{number(x)} {number(y)}h{number(width)}" stroke="{colour}"><title>{escape(title)}</title></path>'


def shades(height: float, drawn: Mapping[str, Iterable[tuple[float, float, float]]]) -> str:
    """Coloured cells without hover texts, by colour: (x, middle y, width) each. A third of the bytes of ``cell``."""
    paths = (
        f'<path stroke="{fill}" d="{"".join(f"M{number(x)} {number(y)}h{number(w)}" for x, y, w in places)}"/>'
        for fill, places in drawn.items()
    )
    return f'<g fill="none" stroke-width="{number(height)}">{"".join(paths)}</g>'


def dots(points: Iterable[tuple[float, float]], style: str) -> str:
    """Many small round marks in one path."""
    d = "".join(f"M{number(x)} {number(y)}h0" for x, y in points)
    return f'<path class="{style}" d="{d}"/>' if d else ""


def hatch(x: float, y: float, width: float, height: float, title: str = "", step: float = 6) -> str:
    """A hatched rectangle: frozen layers look different without any colour.

    Args:
        x: left edge.
        y: top.
        width: in pixels.
        height: in pixels.
        title: shown on hover.
        step: pixels between two strokes.

    Returns:
        SVG elements.
    """
    strokes = []
    for d in range(int(step), int(width + height), int(step)):
        x1, y1 = x + max(0.0, d - height), y + min(float(d), height)
        x2, y2 = x + min(float(d), width), y + max(0.0, d - width)
        strokes.append(f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}")
    return f'{box(x, y, width, height, "frozen", title=title)}<path class="hatch" d="{"".join(strokes)}"/>'


# Outlines around the middle, in halves of the mark's width.
SHAPES: dict[str, Sequence[tuple[float, float]]] = {
    "mother": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "child": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    "base": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
    "parent3": [(0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
    "parent4": [
        (math.sin(i * math.pi / 5) * r, -math.cos(i * math.pi / 5) * r) for i in range(10) for r in [(1.4, 0.6)[i % 2]]
    ],
    "parent5": [(1.15, 0), (-0.85, 1.1), (-0.85, -1.1)],
    "parent6": [
        *((-0.4, -1.15), (0.4, -1.15), (0.4, -0.4), (1.15, -0.4), (1.15, 0.4), (0.4, 0.4)),
        *((0.4, 1.15), (-0.4, 1.15), (-0.4, 0.4), (-1.15, 0.4), (-1.15, -0.4), (-0.4, -0.4)),
    ],
    "parent7": [(-1.15, 0), (0.85, 1.1), (0.85, -1.1)],
    "parent8": [(-1.2, -0.5), (1.2, -0.5), (1.2, 0.5), (-1.2, 0.5)],
}


def mark(role: str, x: float, y: float, size: float = 5, hollow: bool = False, title: str = "") -> str:
    """The role's own shape.

    Father: disc. Mother: square. Child: diamond. Base: triangle. Null: cross. Baseline: ring. Further parents: a
    triangle to each other side, a star, a plus and a bar.

    Args:
        role: whose shape and colour.
        x: of the middle.
        y: of the middle.
        size: half its width in pixels, about.
        hollow: whether only the outline is drawn.
        title: shown on hover.

    Returns:
        one SVG element.
    """
    style = f"mark {role}{' hollow' if hollow else ''}"
    inner = f"<title>{escape(title)}</title>" if title else ""
    s = size
    if role in ("father", "baseline"):
        return f'<circle class="{style}" cx="{number(x)}" cy="{number(y)}" r="{number(s)}">{inner}</circle>'
    if role in SHAPES:
        d = "M" + "L".join(f"{number(x + s * a)} {number(y + s * b)}" for a, b in SHAPES[role]) + "z"
    else:
        half, side, back = 0.8 * s, number(1.6 * s), number(-1.6 * s)
        d = f"M{number(x - half)} {number(y - half)}l{side} {side}m0 {back}l{back} {side}"
    return f'<path class="{style}" d="{d}">{inner}</path>'


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers inside an interval.

    Args:
        low: its lower end.
        high: its upper end.
        count: how many there should be, about.

    Returns:
        the numbers, in order; the lower end alone where the interval is empty.
    """
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def digits(steps: Sequence[float], least: int = 0) -> int:
    """Digits after the point that tell neighbouring ticks apart, at least so many."""
    step = steps[1] - steps[0] if len(steps) > 1 else 1.0
    return max(least, -math.floor(math.log10(step) + 1e-9)) if step > 0 else least


def apart(heights: list[float], least: float = 12.0) -> list[float]:
    """Heights of labels moved down just far enough that none stands on another."""
    moved = dict.fromkeys(range(len(heights)), 0.0)
    last = -least
    for index in sorted(moved, key=lambda i: heights[i]):
        last = max(heights[index], last + least)
        moved[index] = last
    return list(moved.values())
