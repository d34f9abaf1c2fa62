"""Reports from records alone: one view model, three renderers, the same words. Never loads torch."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from darwin_mri.records import write_text
from darwin_mri.report.card import render_card
from darwin_mri.report.html import render_html
from darwin_mri.report.run import Run, load_run
from darwin_mri.report.terminal import contrasts_table, print_report, print_scan, scores_table
from darwin_mri.report.view import View, build_view

WIDTH = 110  # columns of report.txt

__all__ = [
    "Run",
    "View",
    "build_view",
    "contrasts_table",
    "load_run",
    "print_report",
    "print_scan",
    "render_card",
    "render_html",
    "render_text",
    "scores_table",
    "write_report",
]


def render_text(view: View) -> str:
    """The terminal report as plain text, without colour."""
    stream = io.StringIO()
    print_report(Console(file=stream, width=WIDTH, color_system=None, force_terminal=False, _environ={}), view)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def write_report(run: Path) -> View:
    """Write report.html, report.txt and card.md into a run folder, each whole or not at all.

    Args:
        run: the run's folder; any of its records may be missing.

    Returns:
        the view that was drawn. The same records give the same bytes.

    Raises:
        InputError: the folder does not exist.
    """
    view = build_view(load_run(run))
    write_text(run / "report.html", render_html(view))
    write_text(run / "report.txt", render_text(view))
    write_text(run / "card.md", render_card(view))
    return view
