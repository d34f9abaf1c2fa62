"""A run while it goes, for a terminal of any size: fewer columns where it is narrow, fewer rows where it is low."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from darwin_mri.records import PeakMemory
from darwin_mri.report import formats
from darwin_mri.report.live import LiveRun, LiveStage, LiveWorker
from darwin_mri.report.renderers.plan_tables import duration, in_bytes

NARROW = 60  # columns below which a table keeps what matters most
MOST_ROWS = 8  # of generations, members of the front and workers, where the terminal is high enough
FEWEST_ROWS = 2
COLOURS = {"running": "bold", "done": "green", "interrupted": "yellow", "failed": "red"}


@dataclass(frozen=True)
class LiveTables:
    """What a terminal shows of a run; it fits itself to the width and height that it is drawn in.

    Attributes:
        run: as its folder shows it.
        fits: whether it keeps to the terminal's height.
    """

    run: LiveRun
    fits: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich asks for."""
        rows, parts = MOST_ROWS, _parts(self.run, options.max_width, MOST_ROWS)
        while self.fits and rows > FEWEST_ROWS and _height(console, options, parts) >= console.height:
            rows -= 1
            parts = _parts(self.run, options.max_width, rows)
        yield from parts


def live_tables(run: LiveRun, *, fits: bool = False) -> RenderableType:
    """Status, stages, memory, the search so far and its workers."""
    return LiveTables(run, fits)


def _parts(run: LiveRun, width: int, rows: int) -> list[RenderableType]:
    parts: list[RenderableType] = [_head(run), *_stages(run)]
    if run.memory is not None and (peak := _memory(run.memory)):
        parts.append(_line("memory", f"{peak} at most"))
    if run.generations:
        parts += [_line("search", _search(run)), _generations(run, width < NARROW, rows)]
    if run.front:
        parts += [_line("front", _front_title(run, rows)), _front(run, width, rows)]
    if run.workers:
        idle = [worker for worker in run.workers if worker.state == "idle"]
        counts = f"{len(run.workers) - len(idle)} of {len(run.workers)} at work"
        parts += [_line("workers", counts), _workers(run, width < NARROW, rows)]
    return parts


def _height(console: Console, options: ConsoleOptions, parts: list[RenderableType]) -> int:
    return sum(len(console.render_lines(part, options, pad=False)) for part in parts)


def _head(run: LiveRun) -> Text:
    """Name and status, and what to know when a run fell silent."""
    status = f"[{COLOURS.get(run.status, 'bold')}]{escape(_clean(run.status))}[/]"
    note = f": {escape(_clean(run.note))}" if run.note else f" on {escape(_clean(run.device))}"
    head = Text.from_markup(f"[bold]{escape(_clean(run.name))}[/]: {status}{note}")
    if run.is_silent and run.silent is not None:
        head.append(
            f"\nno sign of life for {duration(run.silent)}: if its process is gone, go on with breed --resume",
            style="red",
        )
    return head


def _stages(run: LiveRun) -> list[Text]:
    done = [
        f"{stage.name} {duration(stage.seconds)}" if stage.seconds >= 1 else stage.name
        for stage in run.stages
        if stage.state == "done"
    ]
    lines = [_line("done", ", ".join(done), "green")] if done else []
    for stage in run.stages:
        if stage.state in ("running", "stopped"):
            lines.append(_line("now" if stage.state == "running" else "stopped", _at_work(run, stage), "bold"))
    to_come = [stage.name for stage in run.stages if stage.state == "to come"]
    return [*lines, _line("to come", ", ".join(to_come), "dim")] if to_come else lines


def _at_work(run: LiveRun, stage: LiveStage) -> str:
    text = f"{stage.name}, {duration(stage.seconds)}"
    if run.step is not None and run.step.title != stage.name:  # the search has a line of its own
        text += f"; {run.step.title}: {run.step.done} of {run.step.total}"
        text += "" if run.step_left is None else f", about {duration(run.step_left)} left"
    return text


def _search(run: LiveRun) -> str:
    """Candidates, items and time of the search."""
    text = f"{run.evaluated} of {run.budget} candidates"
    for what in ("failed", "raced"):
        count = sum(getattr(own, what) for own in run.generations)
        text += f", {count} {what}" if count else ""
    text += f", {formats.count(run.items)} items asked"
    text += "" if run.best is None else f", best {run.best:.4f}"
    return text + ("" if run.seconds_left is None else f", about {duration(run.seconds_left)} left")


def _generations(run: LiveRun, narrow: bool, rows: int) -> Table:
    names = ("gen.", "best", "mean", "spread")
    table = _table(*names) if narrow else _table("generation", "tried", "failed", "raced", *names[1:], "step")
    for own in run.generations[-rows:]:
        figures = [_number(value) for value in (own.best, own.mean, own.spread)]
        counts = [] if narrow else [str(own.tried), str(own.failed), str(own.raced)]
        table.add_row(str(own.number), *counts, *figures, *([] if narrow else [_number(own.sigma)]))
    return table


def _front_title(run: LiveRun, rows: int) -> str:
    several = f"{len(run.front)} candidate{'s' if len(run.front) > 1 else ''} that no other one dominates"
    return several if len(run.front) <= rows else f"{several}, {rows} of them below"


def _front(run: LiveRun, width: int, rows: int) -> Table:
    """Members by their first objective; of many, spread over the whole front."""
    table = _table("no.", *(_clean(name) for name in run.objectives))
    for column in table.columns[1:]:
        column.overflow, column.max_width = "ellipsis", max(7, (width - 6) // len(run.objectives) - 2)
    last = len(run.front) - 1
    shown = range(last + 1) if last < rows else sorted({round(i * last / (rows - 1)) for i in range(rows)})
    for i in shown:
        member = run.front[i]
        table.add_row(str(member.evaluation), *(f"{member.scores[name]:.4f}" for name in run.objectives))
    return table


def _workers(run: LiveRun, narrow: bool, rows: int) -> Table:
    """Those that have been busy longest first: a stuck one must not be among those left out."""
    table = Table("worker", "", "task", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    replaced = any(worker.replaced for worker in run.workers)
    own_memory = not narrow and any(worker.memory for worker in run.workers)
    for name, wanted in (("blocks", not narrow), ("lost", replaced), ("memory", own_memory)):
        if wanted:
            table.add_column(name, justify="left" if name == "memory" else "right")
    ranked = sorted(run.workers, key=lambda worker: (worker.state == "idle", -worker.seconds, worker.number))
    for worker in sorted(ranked[:rows], key=lambda worker: worker.number):
        more = [] if narrow else [str(worker.done)]
        more += [str(worker.replaced)] if replaced else []
        more += [_memory(worker.memory) if worker.memory else ""] if own_memory else []
        state = f"{worker.state} {duration(worker.seconds)}"
        table.add_row(f"{worker.number} {escape(_clean(worker.place))}", state, _task(worker, narrow), *more)
    return table


def _task(worker: LiveWorker, narrow: bool) -> str:
    """Generation, candidate and block."""
    if worker.task is None:
        return ""
    words = "{}/{}/{}" if narrow else "generation {} candidate {} block {}"
    return words.format(*worker.task)


def _memory(peak: PeakMemory) -> str:
    parts = [] if peak.host is None else [f"{in_bytes(peak.host)} host"]
    return ", ".join([*parts, *(f"{in_bytes(held)} {_clean(device)}" for device, held in peak.devices.items())])


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(escape(name), justify="right", no_wrap=True)
    return table


def _line(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label}: ", style), _clean(text))


def _clean(text: str) -> str:
    return formats.clean(text)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
