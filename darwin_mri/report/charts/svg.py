"""The few SVG pieces every chart is made of. Colours are CSS classes, so that light, dark and print can differ."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from unicodedata import east_asian_width

from darwin_mri.report.words import clean, language

# Cividis (Nuñez, Anderton, Renslow 2018) at nine equal steps: monotone in lightness, alike to every kind of colour vision.
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838")
# Blue through pale grey to vermillion, Okabe and Ito's pair that all colour visions tell apart; the sign is printed too.
DIVERGING = ("#00558a", "#3f8fc4", "#a9cfe8", "#f1f1ee", "#f5bd98", "#e07b3a", "#b34700")


def escape(text: str) -> str:
    """Text from outside, safe between tags and in quoted attributes."""
    return html.escape(clean(text))


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def drawing(key: str, width: float, height: float, title: str, description: str, body: Iterable[str]) -> str:
    """A whole SVG that a screen reader can name and describe; ``key`` must be unique in the page."""
    w, h = number(width), number(height)
    return (
        f'<svg class="chart" role="img" aria-labelledby="{key}-t {key}-d" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        f'xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(description)}</desc>{"".join(body)}</svg>'
    )


def width_of(words: str, size: float = 13.0) -> float:
    """A generous estimate of how wide a text is set, in pixels: fonts differ, and a label must not run into its neighbour."""
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
    """The text, cut with an ellipsis where it would be wider than ``room`` pixels."""
    words = clean(words)
    if width_of(words, size) <= room:
        return words
    while words and width_of(words, size) > room - size:
        words = words[: -max(1, len(words) // 8)]
    return words + "\N{HORIZONTAL ELLIPSIS}"


def text(
    x: float, y: float, words: str, style: str = "", anchor: str = "start", turn: float = 0, room: float = math.inf
) -> str:
    """One line of text; ``style`` is a class, ``turn`` degrees about its anchor point; wider than ``room`` it is cut and its
    whole is shown on hover."""
    shown = words if room == math.inf else fit(words, room, size_of(style))
    extra = f' class="{style}"' if style else ""
    extra += f' text-anchor="{anchor}"' if anchor != "start" else ""
    extra += f' transform="rotate({number(turn)} {number(x)} {number(y)})"' if turn else ""
    extra += f' lang="{spoken}"' if not words.isascii() and (spoken := language(words)) else ""
    whole = f"<title>{escape(words)}</title>" if shown != words and shown != clean(words) else ""
    return f'<text x="{number(x)}" y="{number(y)}"{extra}>{whole}{escape(shown)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<path class="{style}" d="M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}"/>'


def uprights(x: float, spans: Iterable[tuple[float, float]], style: str) -> str:
    """An upright line at ``x`` in pieces, each from one height to another."""
    return f'<path class="{style}" d="{"".join(f"M{number(x)} {number(a)}V{number(b)}" for a, b in spans)}"/>'


def path(points: Sequence[tuple[float, float]], style: str) -> str:
    """A line through points."""
    if not points:
        return ""
    return f'<path class="{style}" d="M{"L".join(f"{number(x)} {number(y)}" for x, y in points)}"/>'


def box(x: float, y: float, width: float, height: float, style: str = "", fill: str = "", title: str = "") -> str:
    """A rectangle, with a text that shows on hover."""
    shape = f'<path d="M{number(x)} {number(y)}h{number(width)}v{number(height)}h{number(-width)}z"'
    shape += f' class="{style}"' if style else ""
    shape += f' fill="{fill}"' if fill else ""
    return f"{shape}><title>{escape(title)}</title></path>" if title else f"{shape}/>"


def cells(height: float, drawn: Iterable[str]) -> str:
    """A group of ``cell``: they are strokes as wide as a row is high, which takes fewer bytes than rectangles."""
    return f'<g fill="none" stroke-width="{number(height)}">{"".join(drawn)}</g>'


def cell(x: float, y: float, width: float, colour: str, title: str) -> str:
    """A coloured cell around the height ``y`` with a text that shows on hover."""
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
    """A hatched rectangle: frozen layers look different without any colour."""
    strokes = []
    for d in range(int(step), int(width + height), int(step)):
        x1, y1 = x + max(0.0, d - height), y + min(float(d), height)
        x2, y2 = x + min(float(d), width), y + max(0.0, d - width)
        strokes.append(f"M{number(x1)} {number(y1)}L{number(x2)} {number(y2)}")
    return f'{box(x, y, width, height, "frozen", title=title)}<path class="hatch" d="{"".join(strokes)}"/>'


def mark(role: str, x: float, y: float, size: float = 5, hollow: bool = False, title: str = "") -> str:
    """The role's own shape: father a disc, mother a square, child a diamond, base a triangle, null a cross, baseline a ring."""
    style = f"mark {role}{' hollow' if hollow else ''}"
    inner = f"<title>{escape(title)}</title>" if title else ""
    s = size
    if role in ("father", "baseline"):
        return f'<circle class="{style}" cx="{number(x)}" cy="{number(y)}" r="{number(s)}">{inner}</circle>'
    shapes = {
        "mother": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "child": [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
        "base": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
    }
    if role in shapes:
        d = "M" + "L".join(f"{number(x + s * a)} {number(y + s * b)}" for a, b in shapes[role]) + "z"
    else:
        c = 0.8 * s
        d = f"M{number(x - c)} {number(y - c)}l{number(2 * c)} {number(2 * c)}m0 {number(-2 * c)}l{number(-2 * c)} {number(2 * c)}"
    return f'<path class="{style}" d="{d}">{inner}</path>'


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Round numbers inside [low, high], about ``count`` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def colour(share: float, scale: Sequence[str] = CIVIDIS) -> str:
    """The colour at ``share`` in [0, 1] of a scale, between its steps."""
    place = min(max(share, 0.0), 1.0) * (len(scale) - 1)
    index = min(int(place), len(scale) - 2)
    weight = place - index
    below, above = (tuple(int(scale[i][k : k + 2], 16) for k in (1, 3, 5)) for i in (index, index + 1))
    return "#" + "".join(f"{round(a + weight * (b - a)):02x}" for a, b in zip(below, above, strict=True))


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two hex colours (WCAG 2.2), from 1 to 21."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def ink_on(fill: str) -> str:
    """Class of the text colour that reads best on a fill."""
    return "on-dark" if contrast(fill, "#ffffff") >= contrast(fill, "#111111") else "on-light"


def _luminance(colour: str) -> float:
    linear = []
    for k in (1, 3, 5):
        c = int(colour[k : k + 2], 16) / 255
        linear.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
