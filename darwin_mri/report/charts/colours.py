"""Colour scales of the maps, and how well text can be read on them."""

from __future__ import annotations

from collections.abc import Sequence

# Cividis (Nuñez, Anderton, Renslow 2018) at nine equal steps: monotone in lightness, alike to every colour vision.
CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838")
# Blue through pale grey to vermillion, which all colour visions tell apart (Okabe and Ito); the sign is printed too.
DIVERGING = ("#00558a", "#3f8fc4", "#a9cfe8", "#f1f1ee", "#f5bd98", "#e07b3a", "#b34700")


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
