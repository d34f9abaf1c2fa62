"""The search by generation: fitness above, the search's step size below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from darwin_mri.report import words
from darwin_mri.report.charts import svg

WIDTH, LEFT, RIGHT, TOP, PLOT, LOWER = 880.0, 60.0, 850.0, 34.0, 210.0, 70.0


@dataclass(frozen=True)
class Generation:
    """One generation. Fitness values are None where no candidate finished."""

    number: int
    best: float | None
    median: float | None
    best_so_far: float | None
    sigma: float | None
    failed: int = 0


@dataclass(frozen=True)
class Evolution:
    """The whole search."""

    key: str
    title: str
    description: str
    generations: tuple[Generation, ...]


def evolution(data: Evolution) -> str:
    """Draw best so far as a step line, each generation's best and median as marks, sigma in its own panel."""
    shown = data.generations
    step = (RIGHT - LEFT) / max(len(shown), 1)
    xs = [LEFT + (i + 0.5) * step for i in range(len(shown))]
    fitness = [v for g in shown for v in (g.best, g.median, g.best_so_far) if v is not None]
    low, high = _padded(fitness)
    upper = _scale(low, high, TOP, PLOT)
    body = _legend()
    for tick in svg.ticks(low, high, 5):
        y = upper(tick)
        body += [svg.line(LEFT, y, RIGHT, y, "grid"), svg.text(LEFT - 8, y + 4, words.fixed(tick, 3), "axis", "end")]
    body.append(svg.text(13, TOP + PLOT / 2, "fitness", "axis", "middle", -90))
    body.append(svg.path(_steps(xs, [g.best_so_far for g in shown], step, upper), "best"))
    body.append(
        svg.path([(x, upper(g.median)) for x, g in zip(xs, shown, strict=True) if g.median is not None], "median")
    )
    for x, g in zip(xs, shown, strict=True):
        if g.best is not None:
            body.append(
                svg.mark("child", x, upper(g.best), 3.6, title=f"generation {g.number}: best {words.fixed(g.best, 4)}")
            )
        if g.failed:
            body.append(svg.mark("null", x, TOP + PLOT - 8, 5, title=f"generation {g.number}: {g.failed} failed"))
    bottom = TOP + PLOT + 26
    sigmas = [g.sigma for g in shown if g.sigma is not None]
    if sigmas:
        lower = _scale(0.0, max(sigmas) * 1.1 or 1.0, bottom, LOWER)
        for value in (0.0, max(sigmas)):
            body += [
                svg.line(LEFT, lower(value), RIGHT, lower(value), "grid"),
                svg.text(LEFT - 8, lower(value) + 4, words.fixed(value, 2), "axis", "end"),
            ]
        body.append(svg.path(_steps(xs, [g.sigma for g in shown], step, lower), "sigma-line"))
        body.append(svg.text(13, bottom + LOWER / 2, "sigma", "axis", "middle", -90))
        bottom += LOWER + 4
    every = max(1, round(len(shown) / 20))
    body += [
        svg.text(x, bottom + 14, str(g.number), "axis", "middle")
        for i, (x, g) in enumerate(zip(xs, shown, strict=True))
        if i % every == 0
    ]
    body.append(svg.text((LEFT + RIGHT) / 2, bottom + 32, "generation", "axis", "middle"))
    return svg.drawing(data.key, WIDTH, bottom + 40, data.title, data.description, body)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.05
    return low - margin, high + margin


def _scale(low: float, high: float, top: float, height: float) -> Callable[[float], float]:
    return lambda value: top + height * (1 - (value - low) / (high - low))


def _steps(
    xs: Sequence[float], values: Sequence[float | None], step: float, place: Callable[[float], float]
) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    for x, value in zip(xs, values, strict=True):
        if value is not None:
            points += [(x - step / 2, place(value)), (x + step / 2, place(value))]
    return points


def _legend() -> list[str]:
    x = LEFT
    return [
        svg.line(x, 12, x + 24, 12, "best"),
        svg.text(x + 31, 16, "best so far", "axis"),
        svg.mark("child", x + 122, 12, 3.6),
        svg.text(x + 132, 16, "best of the generation", "axis"),
        svg.line(x + 280, 12, x + 304, 12, "median"),
        svg.text(x + 311, 16, "median", "axis"),
        svg.mark("null", x + 376, 12, 5),
        svg.text(x + 387, 16, "failed candidates", "axis"),
    ]
