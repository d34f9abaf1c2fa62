"""``darwin-mri report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Json, Quiet, note, print_json, show_uploads, stdout


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folder; several are compared on one page.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Page that compares several runs; runs.html beside them when absent.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Write every chart of the page there as an SVG file."),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload child, card, report and records to this hub repository."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push: show what would be uploaded, upload nothing.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: make the repository private if it is new.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --push: publish although the health check fails or is missing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Render a run's report.html, card.md and card.svg again, or compare several runs, from records alone."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import print_report, write_figures, write_report, write_runs_report

    if push is None and (dry_run or private or force):
        raise ConfigError("--dry-run, --private and --force belong to --push: give --push OWNER/NAME too")
    if push is not None and figures is not None:
        raise ConfigError("--figures and --push are two commands: give one of them")
    if push is not None:
        _push(runs, push, dry_run=dry_run, private=private, force=force, as_json=as_json)
        return
    if len(runs) == 1 and out is None:
        view, page = write_report(runs[0]), runs[0] / "report.html"
    else:
        view, page = write_runs_report(runs, out)
    drawn = [] if figures is None else write_figures(view, figures)
    if as_json:
        print_json(
            {
                "html": page.name,
                "name": view.name,
                "headline": view.verdict.headline,
                "tone": view.verdict.tone,
                "answers": [{"question": question, "answer": answer} for question, answer in view.verdict.answers],
                "alerts": [alert.model_dump() for alert in view.alerts],
                "missing": [{"file": part.file, "what": part.what, "command": part.command} for part in view.missing],
                "figures": drawn,
            }
        )
    else:
        print_report(stdout, view)
    if not quiet:
        note(f"written: {page}")
        if figures is not None:
            note(f"written: {len(drawn)} figures as SVG in {figures}")


def _push(runs: list[Path], repo: str, *, dry_run: bool, private: bool, force: bool, as_json: bool) -> None:
    """Upload one run's child, or say what would be uploaded."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import render_html, write_report
    from darwin_mri.report.hub import plan, push

    if len(runs) != 1:
        raise ConfigError("--push publishes one child: give one run")
    view = write_report(runs[0])
    uploads = plan(runs[0], view, repo, render_html(view), force=force)
    total = show_uploads(uploads, repo, dry_run=dry_run, as_json=as_json)
    if view.metadata is not None and not view.metadata.licence:
        note("no licence is set: the parents' cards state none or differ")
    if dry_run:
        note(f"dry run, nothing was uploaded: {total}")
        return
    address = push(uploads, repo, private=private, message=f"{view.name}: child, card and report by darwin_mri")
    note(f"uploaded {total}: {address}")
