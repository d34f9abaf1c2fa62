"""Reports from records alone: one view model, several renderers, the same words. Never loads torch.

``model`` puts records into words and data, ``sections`` makes the parts of a page from them, ``pages`` puts parts
together, ``renderers`` write a page as HTML, Markdown or terminal text. ``charts`` draws SVG, ``hub`` publishes a
child.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from darwin_mri.files import require_file, require_output
from darwin_mri.records import ArenaResult, write_text
from darwin_mri.report.hub import eval_files
from darwin_mri.report.live import LiveRun, Watched, read_live
from darwin_mri.report.model.run_records import RunRecords, load_run
from darwin_mri.report.model.view import View
from darwin_mri.report.pages.arena_page import build_arena_view
from darwin_mri.report.pages.run_page import build_view
from darwin_mri.report.pages.runs_page import build_runs_view
from darwin_mri.report.renderers import notebook as notebook  # importing it gives records their tables in notebooks
from darwin_mri.report.renderers.card import PICTURE, render_card
from darwin_mri.report.renderers.figures import draw_figures, write_figures
from darwin_mri.report.renderers.html import render_html
from darwin_mri.report.renderers.live_tables import live_tables
from darwin_mri.report.renderers.plan_tables import print_plan, print_plan_summary
from darwin_mri.report.renderers.social_card import render_social_card
from darwin_mri.report.renderers.terminal import (
    PAGE,
    contrasts_table,
    print_arena,
    print_report,
    print_scan,
    scores_table,
)
from darwin_mri.translation import ENGLISH, speaking, spoken

WIDTH = 110  # columns of report.txt
WRITTEN = ("report.html", "report.txt", "card.md", PICTURE, ".eval_results/*.yaml")

__all__ = [
    "LiveRun",
    "RunRecords",
    "View",
    "Watched",
    "build_arena_view",
    "build_runs_view",
    "build_view",
    "contrasts_table",
    "draw_figures",
    "live_tables",
    "load_run",
    "print_arena",
    "print_plan",
    "print_plan_summary",
    "print_report",
    "print_scan",
    "read_arena",
    "read_live",
    "render_card",
    "render_html",
    "render_social_card",
    "render_text",
    "scores_table",
    "write_arena",
    "write_figures",
    "write_report",
    "write_runs_report",
]


def render_text(view: View, page: str = PAGE) -> str:
    """The terminal report as plain text, without colour; ``page`` is the file that has what a terminal cannot show."""
    stream = io.StringIO()
    print_report(Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, _environ={}), view, page)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def write_report(run: Path) -> View:
    """Write report.html, report.txt, card.md with its picture, and the hub's evaluation files into a run folder.

    Each file is written whole or not at all. The report is in the language in use (``translation.speaking``), the card,
    its picture and the evaluation files are English.

    Args:
        run: the run's folder; any of its records may be missing.

    Returns:
        the view that was drawn. The same records give the same bytes.

    Raises:
        InputError: the folder does not exist or cannot be written to.
    """
    if run.is_dir():
        require_output(run, WRITTEN, "run folder")
    view, translated = build_view(load_run(run)), spoken() != ENGLISH
    write_text(run / "report.html", render_html(view))
    write_text(run / "report.txt", render_text(view))
    with speaking(ENGLISH):
        english = build_view(load_run(run)) if translated else view
        write_text(run / "card.md", render_card(english))
        write_text(run / PICTURE, render_social_card(english))
        if english.metadata is not None and english.metadata.results:
            for name, text in eval_files(english.metadata).items():
                write_text(run / name, text)
    return view


def write_runs_report(runs: Sequence[Path], page: Path | None = None) -> tuple[View, Path]:
    """Write one page that compares several runs, and the same as text beside it.

    Args:
        runs: folders of runs, in the order to show them.
        page: the HTML file to write; ``runs.html`` in the folder that holds them all when absent.

    Returns:
        the view, and where the page is.

    Raises:
        InputError: one of the folders does not exist, or the page cannot be written there.
    """
    if page is None:
        page = Path(os.path.commonpath([run.resolve().parent for run in runs])) / "runs.html"
    for file in (page, page.with_suffix(".txt")):
        require_file(file, "--out")
    view = build_runs_view([load_run(run) for run in runs], [run.resolve().name for run in runs])
    write_text(page, render_html(view))
    write_text(page.with_suffix(".txt"), render_text(view, page.name))
    return view, page


def read_arena(folder: Path) -> ArenaResult | None:
    """The record of an arena; None for the folder of a run."""
    file = folder / "arena.json"
    return ArenaResult.load(file) if file.is_file() and not (folder / "manifest.json").is_file() else None


def write_arena(result: ArenaResult, out: Path) -> View:
    """Write arena.html into a folder and return the view."""
    view = build_arena_view(result)
    write_text(out / "arena.html", render_html(view))
    return view
