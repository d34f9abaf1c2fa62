"""``darwin-mri report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Json, Quiet, note, print_json, show_uploads, stdout


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folder of a run or an arena; several runs are compared on one page."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Page that compares several runs; runs.html beside them when absent.")
    ] = None,
    lang: Annotated[
        str, typer.Option(metavar="LANGUAGE", help="Language of the report: en or ko. The model card stays English.")
    ] = "en",
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
    from darwin_mri.translation import speaking

    if push is None and (dry_run or private or force):
        raise ConfigError("--dry-run, --private and --force belong to --push: give --push OWNER/NAME too")
    if push is not None and figures is not None:
        raise ConfigError("--figures and --push are two commands: give one of them")
    with speaking(lang):
        if push is not None:
            _push(runs, push, dry_run=dry_run, private=private, force=force, as_json=as_json)
            return
        page, drawn = _write(runs, out, figures, as_json=as_json)
    if not quiet:
        note(f"written: {page}")
        if figures is not None:
            note(f"written: {len(drawn)} figures as SVG in {figures}")


def _write(runs: list[Path], out: Path | None, figures: Path | None, *, as_json: bool) -> tuple[Path, list[str]]:
    """Write the page of a run, of an arena, or of several runs, and print it; where it is, and names of its figures."""
    from darwin_mri.report import (
        print_arena,
        print_report,
        read_arena,
        write_arena,
        write_figures,
        write_report,
        write_runs_report,
    )

    single = len(runs) == 1 and out is None
    arena = read_arena(runs[0]) if single else None
    if arena is not None:
        view, page = write_arena(arena, runs[0]), runs[0] / "arena.html"
    elif single:
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
    elif arena is not None:
        print_arena(stdout, arena)
    else:
        print_report(stdout, view, page.name)
    return page, drawn


def _push(runs: list[Path], repo: str, *, dry_run: bool, private: bool, force: bool, as_json: bool) -> None:
    """Upload one run's child, or say what would be uploaded."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import build_view, load_run, render_html, write_report
    from darwin_mri.report.hub import plan, push
    from darwin_mri.translation import ENGLISH, speaking

    if len(runs) != 1:
        raise ConfigError("--push publishes one child: give one run")
    view = write_report(runs[0])
    html = render_html(view)
    with speaking(ENGLISH):  # the card on the hub is English
        uploads = plan(runs[0], build_view(load_run(runs[0])), repo, html, force=force)
    total = show_uploads(uploads, repo, dry_run=dry_run, as_json=as_json)
    if view.metadata is not None and not view.metadata.licence:
        note("no licence is set: the parents' cards state none or differ")
    if dry_run:
        note(f"dry run, nothing was uploaded: {total}")
        return
    address = push(uploads, repo, private=private, message=f"{view.name}: child, card and report by darwin_mri")
    note(f"uploaded {total}: {address}")
