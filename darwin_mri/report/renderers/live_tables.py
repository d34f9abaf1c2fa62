"""A run while it goes, for a terminal."""

from __future__ import annotations

from statistics import fmean, pstdev

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from darwin_mri.report.live import LAST_ROWS, LiveRun
from darwin_mri.report.renderers.plan_tables import duration

SIGNS = {"done": "[green]done[/]", "running": "[bold]running[/]", "stopped": "[red]stopped[/]", "to come": "[dim]-[/]"}


def live_tables(run: LiveRun) -> RenderableType:
    """Status, stages, and the last generations of the search."""
    parts: list[RenderableType] = [Text.from_markup(f"[bold]{escape(run.name)}[/]: {_status(run)}")]
    stages = Table("stage", "", "took", box=None, pad_edge=False)
    for stage in run.stages:
        took = duration(stage.seconds) if stage.seconds else ""
        stages.add_row(stage.name, SIGNS[stage.state], took)
    parts.append(stages)
    if run.generations:
        title = f"{run.evaluated} of {run.budget} candidates, {run.items} items asked"
        title += "" if run.best is None else f", best {run.best:.4f}"
        title += "" if run.seconds_left is None else f", about {duration(run.seconds_left)} left"
        table = Table("generation", "tried", "failed", "best", "mean", "spread", "step", title=title, box=None)
        for own in run.generations[-LAST_ROWS:]:
            mean, spread = (fmean(own.fitness), pstdev(own.fitness)) if own.fitness else (None, None)
            cells = (own.best, mean, spread, own.sigma)
            table.add_row(str(own.number), str(own.evaluations), str(own.failed), *map(_number, cells))
        parts.append(table)
    return Group(*parts)


def _status(run: LiveRun) -> str:
    return escape(f"{run.status}: {run.note}" if run.note else run.status)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
