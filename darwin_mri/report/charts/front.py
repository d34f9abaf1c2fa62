"""The front of several objectives: two as a plane, more as parallel axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


@dataclass(frozen=True)
class FrontPoint:
    """A member of the front, or a model beside it.

    Attributes:
        label: number of the member, or name of the model.
        role: child for members, a parent's or null.
        values: score by objective.
        before: a member's scores on search items; empty for other models.
        chosen: whether it is the member that became the child.
        reached: whether no other member is better on the values drawn.
    """

    label: str
    role: str
    values: tuple[float, ...]
    before: tuple[float, ...] = ()
    chosen: bool = False
    reached: bool = False


@dataclass(frozen=True)
class FrontBorder:
    """What another search reaches.

    Attributes:
        label: in words.
        kind: flat or random: how it is drawn.
        corners: score by objective, of each member that no other one dominates.
    """

    label: str
    kind: str
    corners: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Front:
    """The members and the models beside them.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        axes: names of the objectives.
        points: the models first, the members last.
        items: what the values were measured on, such as held-out items.
        borders: of other searches; drawn in a plane alone.
    """

    key: str
    title: str
    description: str
    axes: tuple[str, ...]
    points: tuple[FrontPoint, ...]
    items: str
    borders: tuple[FrontBorder, ...] = ()


BORDERS = {"flat": "edge", "random": "edge dotted"}
LEFT, GUTTER = 72.0, 150.0
Box = tuple[float, float, float, float]  # left, top, right, bottom
# Where a label may stand around its mark: (dx, dy of the baseline, anchor).
SPOTS = ((9, 4, "start"), (-9, 4, "end"), (0, -10, "middle"), (0, 19, "middle"), (8, -8, "start"), (-8, 15, "end"))


def front(data: Front, narrow: bool = False) -> str:
    """Draw two objectives as a plane, more as one upright axis each."""
    return _plane(data, narrow) if len(data.axes) == 2 else _parallel(data, narrow)


def _scale(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    low, high = min(known), max(known)
    margin = 0.07 * (high - low) or 0.05
    return low - margin, high + margin


def _title(data: Front, point: FrontPoint) -> str:
    """The hover text: every value of a point."""
    name = say("member {number}", number=point.label) if point.role == "child" else point.label
    scores = ", ".join(f"{axis} {formats.fixed(value, 3)}" for axis, value in zip(data.axes, point.values, strict=True))
    return f"{name}: {scores}"


def _plane(data: Front, narrow: bool) -> str:
    width, plot = (368.0, 300.0) if narrow else (960.0, 400.0)
    legend, rows = _plane_legend(data, narrow)
    top, right = 16.0 + 18 * rows, width - 12
    drawn = [values for p in data.points for values in (p.values, p.before) if values]
    drawn += [corner for border in data.borders for corner in border.corners]
    x_low, x_high = _scale(values[0] for values in drawn)
    y_low, y_high = _scale(values[1] for values in drawn)

    def place(values: Sequence[float]) -> tuple[float, float]:
        x = LEFT + (values[0] - x_low) / (x_high - x_low) * (right - LEFT)
        return x, top + plot * (1 - (values[1] - y_low) / (y_high - y_low))

    body = legend
    steps = svg.ticks(x_low, x_high, 4 if narrow else 8)
    for tick in steps:
        x = place((tick, y_low))[0]
        body += [svg.line(x, top, x, top + plot, "grid")]
        body.append(svg.text(x, top + plot + 16, formats.fixed(tick, svg.digits(steps)), "axis", "middle"))
    steps = svg.ticks(y_low, y_high, 6)
    for tick in steps:
        y = place((x_low, tick))[1]
        body += [svg.line(LEFT, y, right, y, "grid")]
        body.append(svg.text(LEFT - 8, y + 4, formats.fixed(tick, svg.digits(steps)), "axis", "end"))
    body.append(svg.text((LEFT + right) / 2, top + plot + 36, data.axes[0], "axis strong", "middle", room=right - LEFT))
    body.append(svg.text(12, top + plot / 2, data.axes[1], "axis strong", "middle", -90, room=plot))
    members = [point for point in data.points if point.role == "child"]
    for border in data.borders:
        body.append(svg.path(_staircase(border.corners, place, top + plot), BORDERS[border.kind]))
    reached = [member.values for member in members if member.reached]
    body.append(svg.path(_staircase(reached, place, top + plot), "median"))
    for point in members:
        if point.before:
            body.append(svg.line(*place(point.before), *place(point.values), "link faint"))
            body.append(svg.mark("child", *place(point.before), 3, hollow=True))
    taken = [_around(*place(point.values), 7) for point in data.points]
    for point in data.points:
        x, y = place(point.values)
        size = 6.5 if point.chosen else 4.5
        body += [svg.mark("baseline", x, y, 13)] if point.chosen else []
        body.append(svg.mark(point.role, x, y, size, title="" if narrow else _title(data, point)))
    for point in sorted(data.points, key=lambda point: not point.chosen):
        words = say("{member}, the child", member=point.label) if point.chosen and not narrow else point.label
        body += _label(words, place(point.values), point, (LEFT, top, right, top + plot), taken)
    key = data.key + ("-n" if narrow else "")
    return svg.drawing(key, width, top + plot + 44, data.title, data.description, body)


def _staircase(
    reached: Sequence[Sequence[float]], place: Callable[[Sequence[float]], tuple[float, float]], bottom: float
) -> list[tuple[float, float]]:
    """The border of what these points reach together, from the left edge to the lower one."""
    corners = sorted(map(place, reached))  # from the left, falling
    line: list[tuple[float, float]] = []
    for x, y in corners:
        line += [(line[-1][0] if line else LEFT, y), (x, y)]
    return [*line, (line[-1][0], bottom)] if line else []


def _around(x: float, y: float, reach: float) -> Box:
    return x - reach, y - reach, x + reach, y + reach


def _label(words: str, at: tuple[float, float], point: FrontPoint, inside: Box, taken: list[Box]) -> list[str]:
    """The point's name beside its mark where it covers nothing; left out of a plane with no room for it."""
    style = "value strong" if point.chosen else "tiny"
    width = svg.width_of(words, svg.size_of(style))
    for dx, dy, anchor in SPOTS:
        reach = 15 / 9 if point.chosen else 1.0
        x, y = at[0] + dx * reach, at[1] + dy * (reach if dx == 0 else 1)
        left = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        box = (left, y - 9, left + width, y + 2)
        within = box[0] >= inside[0] and box[2] <= inside[2] and box[1] >= inside[1] and box[3] <= inside[3]
        if within and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return [svg.text(x, y, words, style, anchor)]
    return []


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _plane_legend(data: Front, narrow: bool) -> tuple[list[str], int]:
    """The legend and its number of rows."""
    entries = [(svg.mark("child", 6, 12, 4.5), say("member, {items}", items=data.items))]
    if any(point.before for point in data.points):
        entries.append((svg.mark("child", 6, 12, 3, hollow=True), say("the same on search items")))
    entries.append((svg.line(-4, 12, 16, 12, "median"), say("reached by the members")))
    entries += [(svg.line(-4, 12, 16, 12, BORDERS[border.kind]), border.label) for border in data.borders]
    body, x, y = [], LEFT, 0.0
    for sign, words in entries:
        room = 26 + svg.width_of(words, svg.SIZES["axis"]) + 14
        if x + room > (360 if narrow else 960) and x > LEFT:
            x, y = LEFT, y + 18
        body.append(f'<g transform="translate({svg.number(x)} {svg.number(y)})">{sign}</g>')
        body.append(svg.text(x + 24, y + 16, words, "axis"))
        x += room
    return body, 1 + round(y / 18)


def _parallel(data: Front, narrow: bool) -> str:
    width, plot, top = (368.0, 300.0, 44.0) if narrow else (960.0, 360.0, 44.0)
    gutter = 96.0 if narrow else GUTTER
    step = (width - LEFT - gutter) / (len(data.axes) - 1)
    xs = [LEFT + i * step for i in range(len(data.axes))]
    scales = [_scale(point.values[i] for point in data.points) for i in range(len(data.axes))]

    def height(axis: int, value: float) -> float:
        low, high = scales[axis]
        return top + plot * (1 - (value - low) / (high - low))

    body = []
    for i, (name, x) in enumerate(zip(data.axes, xs, strict=True)):
        body.append(svg.line(x, top, x, top + plot, "zero"))
        anchor = "start" if i == 0 else "middle"
        at, room = (4.0, LEFT + step / 2) if i == 0 else (x, step)
        body.append(svg.text(at, top - 14, name, "axis strong", anchor, room=room - 8))
        steps = svg.ticks(*scales[i], 5)
        for tick in steps:
            body.append(svg.line(x - 4, height(i, tick), x, height(i, tick), "zero"))
            body.append(svg.text(x - 7, height(i, tick) + 4, formats.fixed(tick, svg.digits(steps)), "tiny", "end"))
    drawn = sorted(data.points, key=lambda point: (point.chosen, point.role != "null"))
    for point in drawn:
        ys = [height(i, value) for i, value in enumerate(point.values)]
        style = "reference" if point.role == "null" else "best" if point.chosen else "link weak"
        style = f"stick {point.role}" if point.role not in ("null", "child") else style
        corners = list(zip(xs, ys, strict=True))
        body += [svg.line(*a, *b, style) for a, b in zip(corners[:-1], corners[1:], strict=True)]
        title = "" if narrow else _title(data, point)
        body += [svg.mark(point.role, x, y, 5.5 if point.chosen else 3.5, title=title) for x, y in corners]
    ends = svg.apart([height(len(xs) - 1, point.values[-1]) for point in drawn])
    for point, end in zip(drawn, ends, strict=True):
        own = height(len(xs) - 1, point.values[-1])
        body.append(svg.line(xs[-1] + 7, own, xs[-1] + 22, end, "link faint"))
        words = say("{member}, the child", member=point.label) if point.chosen and not narrow else point.label
        style = "tiny strong" if point.chosen else "tiny"
        body.append(svg.text(xs[-1] + 26, end + 4, words, style, room=gutter - 30))
    key = data.key + ("-n" if narrow else "")
    return svg.drawing(key, width, max([top + plot, *ends]) + 14, data.title, data.description, body)
