"""The family over generations: each child below and to the right of the parents it came from."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.records.genealogy import Birth
from darwin_mri.records.roles import role_label
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


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
BELOW, AGAIN = 124.0, HIGH + 12  # top of the first other parent, and from one to the next


def pedigree(data: Pedigree, narrow: bool = False) -> str:
    """Draw one column per generation on wide screens, one row on narrow ones."""
    return _down(data) if narrow else _across(data)


def _across(data: Pedigree) -> str:
    """Fathers run along the middle, the other parents stand below and join from there."""
    count = len(data.births) + 1
    step = max(190.0, min(316.0, (960.0 - BOX) / max(count - 1, 1)))
    box = min(BOX, step - 34)
    top = 24.0
    body = []
    for number, birth in enumerate(data.births):
        x, joint = number * step, number * step + box + (step - box) / 2
        middle = top + HIGH / 2
        body.append(svg.line(x + box, middle, x + step, middle, "kin"))
        persons = []
        for place, (role, name) in enumerate(birth.others.items()):
            y = BELOW + place * AGAIN
            body.append(svg.path([(x + box, y + HIGH / 2), (joint, y + HIGH / 2), (joint, middle)], "kin"))
            persons.append(_person(x, y, box, role, name, role_label(role)))
        body += [svg.text(joint, top - 9, birth.method, "tiny", "middle", room=step - 8), *persons]
        if number == 0:
            body.append(_person(x, top, box, "father", birth.father, role_label("father")))
        body.append(_person(x + step, top, box, "child", birth.child, say("generation {number}", number=number + 1)))
    width = max(960.0, (count - 1) * step + box + 2)
    most = max((len(birth.others) for birth in data.births), default=1)
    bottom = BELOW + (most - 1) * AGAIN + HIGH + 6
    return svg.drawing(data.key, width, bottom, data.title, data.description, body)


def _down(data: Pedigree) -> str:
    body = []
    y = 2.0
    for number, birth in enumerate(data.births):
        if number == 0:
            body.append(_person(0, y, 172, "father", birth.father, role_label("father")))
        last = y + (len(birth.others) - 1) * AGAIN
        body += [
            _person(194, y + i * AGAIN, 172, role, name, role_label(role))
            for i, (role, name) in enumerate(birth.others.items())
        ]
        following = last + HIGH + 44
        body.append(svg.line(86, y + HIGH, 86, following, "kin"))
        body += [  # all but the lowest join beside their boxes
            svg.path([(194, y + i * AGAIN + HIGH / 2), (183, y + i * AGAIN + HIGH / 2), (183, last + HIGH + 20)], "kin")
            for i in range(len(birth.others) - 1)
        ]
        body += [
            svg.path([(280, last + HIGH), (280, last + HIGH + 20), (86, last + HIGH + 20)], "kin"),
            svg.text(94, last + HIGH + 34, birth.method, "tiny", room=260),
            _person(0, following, 172, "child", birth.child, say("generation {number}", number=number + 1)),
        ]
        y = following
    return svg.drawing(data.key + "-n", 368, y + HIGH + 4, data.title, data.description, body)


def _person(x: float, y: float, width: float, role: str, name: str, what: str) -> str:
    return "".join(
        (
            svg.box(x + 1, y, width - 2, HIGH, f"person {role}"),
            svg.mark(role, x + 14, y + 15, 4.2),
            svg.text(x + 25, y + 19, what, "tiny", room=width - 34),
            svg.text(x + 9, y + 36, name, "value strong", room=width - 14),
        )
    )
