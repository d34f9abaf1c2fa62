"""The search by generation: every candidate's fitness, the best and the median, the step size, and the items spent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from darwin_mri.report import formats
from darwin_mri.report.charts import svg
from darwin_mri.translation import say


@dataclass(frozen=True)
class Generation:
    """One generation of the search.

    Attributes:
        number: its number.
        best: best fitness in it; None where no candidate finished.
        median: median fitness in it; None where no candidate finished.
        best_so_far: best fitness up to its end.
        sigma: the search's step size.
        evaluations: candidates tried.
        failed: candidates that failed.
        items: items answered up to its end.
        fitness: of every candidate that finished.
    """

    number: int
    best: float | None
    median: float | None
    best_so_far: float | None
    sigma: float | None
    evaluations: int = 0
    failed: int = 0
    items: int = 0
    fitness: tuple[float, ...] = ()


@dataclass(frozen=True)
class Evolution:
    """The whole search.

    Attributes:
        key: id in the page.
        title: the name of the chart.
        description: for readers who cannot see it.
        generations: in order.
    """

    key: str
    title: str
    description: str
    generations: tuple[Generation, ...]


TOP, PLOT, LOWER, LEFT = 34.0, 210.0, 62.0, 72.0
MARKED = 60  # generations up to which each best gets a mark of its own

Place = Callable[[float], float]


def evolution(data: Evolution, narrow: bool = False) -> str:
    """Draw best so far as a step line over all candidates, then sigma and items spent in panels of their own."""
    width = 368.0 if narrow else 960.0
    right = width - (8 if narrow else 20)
    shown = data.generations
    step = (right - LEFT) / max(len(shown), 1)
    xs = [LEFT + (i + 0.5) * step for i in range(len(shown))]
    top = TOP + (18 if narrow else 0)
    body = _legend(narrow, any(g.failed for g in shown))
    body += _fitness(shown, xs, step, top, right, hover=not narrow)
    bottom = top + PLOT + 22
    sigmas = [g.sigma for g in shown]
    if any(value is not None for value in sigmas):
        body += _lower(say("sigma"), sigmas, xs, step, bottom, right, lambda v: formats.fixed(v, 2))
        bottom += LOWER + 16
    if any(g.items for g in shown):
        body += _lower(say("items"), [float(g.items) for g in shown], xs, step, bottom, right, formats.count)
        bottom += LOWER + 16
    every = max(1, round(len(shown) * (32 if narrow else 40) / (right - LEFT)))
    body += [
        svg.text(x, bottom, str(g.number), "axis", "middle")
        for i, (x, g) in enumerate(zip(xs, shown, strict=True))
        if i % every == 0
    ]
    body.append(svg.text((LEFT + right) / 2, bottom + 18, say("generation"), "axis", "middle"))
    key = data.key + ("-n" if narrow else "")
    return svg.drawing(key, width, bottom + 26, data.title, data.description, body)


def _fitness(
    shown: Sequence[Generation], xs: Sequence[float], step: float, top: float, right: float, hover: bool
) -> list[str]:
    low, high = _pad([v for g in shown for v in (*g.fitness, g.best, g.median, g.best_so_far) if v is not None])
    place = _scale(low, high, top, PLOT)
    body = []
    steps = svg.ticks(low, high, 5)
    for tick in steps:
        y = place(tick)
        body += [
            svg.line(LEFT, y, right, y, "grid"),
            svg.text(LEFT - 8, y + 4, formats.fixed(tick, svg.digits(steps, 3)), "axis", "end"),
        ]
    body.append(svg.text(12, top + PLOT / 2, say("fitness, search items"), "axis", "middle", -90))
    body.append(svg.dots(_cloud(shown, xs, step, place), "dot"))
    body.append(svg.path(_steps(xs, [g.best_so_far for g in shown], step, place), "best"))
    medians = [(x, place(g.median)) for x, g in zip(xs, shown, strict=True) if g.median is not None]
    body.append(svg.path(medians, "median"))
    for x, g in zip(xs, shown, strict=True):
        if g.best is not None and len(shown) <= MARKED:
            title = (
                say("generation {number}: best {fitness}", number=g.number, fitness=formats.fixed(g.best, 4))
                if hover
                else ""
            )
            body.append(svg.mark("child", x, place(g.best), 3.6, title=title))
        if g.failed:
            title = say("generation {number}: {failed} failed", number=g.number, failed=g.failed) if hover else ""
            body.append(svg.mark("null", x, top + PLOT - 6, 5, title=title))
    return body


def _cloud(
    shown: Sequence[Generation], xs: Sequence[float], step: float, place: Place
) -> Iterable[tuple[float, float]]:
    """Every candidate as a dot; those of a generation side by side in the order they were tried."""
    for x, g in zip(xs, shown, strict=True):
        for i, value in enumerate(g.fitness):
            yield x + step * 0.7 * ((i + 0.5) / len(g.fitness) - 0.5), place(value)


def _lower(
    name: str,
    values: Sequence[float | None],
    xs: Sequence[float],
    step: float,
    top: float,
    right: float,
    write: Callable[[float], str],
) -> list[str]:
    """A panel of its own below the fitness: a step line from zero."""
    most = max((v for v in values if v is not None), default=0.0) or 1.0
    place = _scale(0.0, most * 1.08, top, LOWER)
    body = [svg.text(12, top + LOWER / 2, name, "axis", "middle", -90)]
    for value in (0.0, most):
        y = place(value)
        body += [svg.line(LEFT, y, right, y, "grid"), svg.text(LEFT - 8, y + 4, write(value), "axis", "end")]
    return [*body, svg.path(_steps(xs, values, step, place), "sigma-line")]


def _pad(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin


def _scale(low: float, high: float, top: float, height: float) -> Place:
    return lambda value: top + height * (1 - (value - low) / (high - low))


def _steps(xs: Sequence[float], values: Sequence[float | None], step: float, place: Place) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for x, value in zip(xs, values, strict=True):
        if value is not None:
            points += [(x - step / 2, place(value)), (x + step / 2, place(value))]
    return points


def _legend(narrow: bool, failures: bool) -> list[str]:
    x = LEFT
    body = [
        svg.line(x, 12, x + 24, 12, "best"),
        svg.text(x + 31, 16, say("best so far"), "axis"),
        svg.mark("child", x + 122, 12, 3.6),
        svg.text(x + 132, 16, say("best of the generation"), "axis"),
    ]
    x, y = (LEFT, 30.0) if narrow else (LEFT + 288, 12.0)
    body += [svg.line(x, y, x + 24, y, "median"), svg.text(x + 31, y + 4, say("median"), "axis")]
    body += [
        svg.dots([(x + 98, y), (x + 106, y - 3), (x + 112, y + 2)], "dot"),
        svg.text(x + 121, y + 4, say("candidates"), "axis"),
    ]
    if failures:
        body += [svg.mark("null", x + 210, y, 5), svg.text(x + 221, y + 4, say("failed"), "axis")]
    return body
