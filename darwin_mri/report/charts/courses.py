"""Several searches on one pair of axes: best fitness so far against evaluations spent."""

from __future__ import annotations

from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


@dataclass(frozen=True)
class Course:
    """One search.

    Attributes:
        label: its name.
        points: (evaluation, best fitness so far) where it rose, and where it ended.
        text: the best fitness, printed beside the name.
    """

    label: str
    points: tuple[tuple[int, float], ...]
    text: str


@dataclass(frozen=True)
class Courses:
    """Searches to compare, told apart by dash, colour and the number at their end.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        courses: one per search.
    """

    key: str
    title: str
    description: str
    courses: tuple[Course, ...]


KINDS = 6  # colour and dash combinations in the style sheet
TOP, PLOT, LEFT = 12.0, 230.0, 72.0


def courses(data: Courses, narrow: bool = False) -> str:
    """Draw one step line per search with its name beside the plot (below it on narrow screens)."""
    width, right = (368.0, 344.0) if narrow else (960.0, 640.0)
    points = [point for course in data.courses for point in course.points]
    most = max([1, *(x for x, _ in points)])
    low, high = (min(y for _, y in points), max(y for _, y in points)) if points else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.05
    low, high = low - margin, high + margin

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / most * (right - LEFT), TOP + PLOT * (1 - (y - low) / (high - low))

    body = []
    steps = svg.ticks(low, high, 5)
    for tick in steps:
        y = place(0, tick)[1]
        body += [
            svg.line(LEFT, y, right, y, "grid"),
            svg.text(LEFT - 8, y + 4, formats.fixed(tick, svg.digits(steps, 3)), "axis", "end"),
        ]
    for tick in svg.ticks(0, most, 5):
        body.append(svg.text(place(tick, low)[0], TOP + PLOT + 16, formats.count(tick), "axis", "middle"))
    body.append(svg.text((LEFT + right) / 2, TOP + PLOT + 36, say("evaluations"), "axis", "middle"))
    body.append(svg.text(12, TOP + PLOT / 2, say("best fitness so far"), "axis", "middle", -90))
    bottom = TOP + PLOT + 46
    ends = svg.apart([place(*course.points[-1])[1] for course in data.courses])
    for number, course in enumerate(data.courses):
        kind = f"course c{number % KINDS}"
        line: list[tuple[float, float]] = []
        for x, y in course.points:
            if line:
                line.append((place(x, y)[0], line[-1][1]))
            line.append(place(x, y))
        body.append(svg.path(line, kind))
        if line:
            body.append(svg.text(right + 4, ends[number] + 4, str(number + 1), "tiny"))
            if line[-1][0] < right:
                body.append(svg.path([line[-1], (right, ends[number])], "grid"))
        x, y = (LEFT, bottom + 20 * number + 8) if narrow else (right + 40, TOP + 22 * number + 10)
        body += [svg.line(x, y - 4, x + 26, y - 4, kind)]
        body.append(svg.text(x + 34, y, f"{number + 1}  {course.label}  {course.text}", "value", room=width - x - 36))
    if narrow:
        bottom += 20 * len(data.courses) + 4
    else:
        bottom = max(bottom, TOP + 22 * len(data.courses) + 10)
    return svg.drawing(data.key + ("-n" if narrow else ""), width, bottom, data.title, data.description, body)
