"""The family over generations: each child below and to the right of the parents it came from."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.report.charts import svg


@dataclass(frozen=True)
class Birth:
    """One generation: which model was bred from which, and how.

    Attributes:
        child: its name.
        father: its name.
        mother: its name.
        method: how they were merged.
    """

    child: str
    father: str
    mother: str
    method: str


@dataclass(frozen=True)
class Pedigree:
    """Births, eldest first; each father but the first is the child before.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        births: one per generation.
    """

    key: str
    title: str
    description: str
    births: tuple[Birth, ...]


BOX, HIGH = 224.0, 46.0


def pedigree(data: Pedigree, narrow: bool = False) -> str:
    """Draw one column per generation on wide screens, one row on narrow ones."""
    return _down(data) if narrow else _across(data)


def _across(data: Pedigree) -> str:
    """Fathers run along the middle, mothers stand below and join from there."""
    count = len(data.births) + 1
    step = max(190.0, min(316.0, (960.0 - BOX) / max(count - 1, 1)))
    box = min(BOX, step - 34)
    top, below = 24.0, 124.0
    body = []
    for number, birth in enumerate(data.births):
        x, joint = number * step, number * step + box + (step - box) / 2
        middle = top + HIGH / 2
        body += [
            svg.line(x + box, middle, x + step, middle, "kin"),
            svg.path([(x + box, below + HIGH / 2), (joint, below + HIGH / 2), (joint, middle)], "kin"),
            svg.text(joint, top - 9, birth.method, "tiny", "middle", room=step - 8),
            _person(x, below, box, "mother", birth.mother, "mother"),
        ]
        if number == 0:
            body.append(_person(x, top, box, "father", birth.father, "father"))
        body.append(_person(x + step, top, box, "child", birth.child, f"generation {number + 1}"))
    width = max(960.0, (count - 1) * step + box + 2)
    return svg.drawing(data.key, width, below + HIGH + 6, data.title, data.description, body)


def _down(data: Pedigree) -> str:
    step = HIGH + 44
    body = []
    for number, birth in enumerate(data.births):
        y = 2 + number * step
        if number == 0:
            body.append(_person(0, y, 172, "father", birth.father, "father"))
        body += [
            _person(194, y, 172, "mother", birth.mother, "mother"),
            svg.line(86, y + HIGH, 86, y + step, "kin"),
            svg.path([(280, y + HIGH), (280, y + HIGH + 20), (86, y + HIGH + 20)], "kin"),
            svg.text(94, y + HIGH + 34, birth.method, "tiny", room=260),
            _person(0, y + step, 172, "child", birth.child, f"generation {number + 1}"),
        ]
    height = 6 + len(data.births) * step + HIGH
    return svg.drawing(data.key + "-n", 368, height, data.title, data.description, body)


def _person(x: float, y: float, width: float, role: str, name: str, what: str) -> str:
    return "".join(
        (
            svg.box(x + 1, y, width - 2, HIGH, f"person {role}"),
            svg.mark(role, x + 14, y + 15, 4.2),
            svg.text(x + 25, y + 19, what, "tiny", room=width - 34),
            svg.text(x + 9, y + 36, name, "value strong", room=width - 14),
        )
    )
