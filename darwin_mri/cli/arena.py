"""``darwin-mri arena``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import Debug, Json, Offline, Quiet, note, print_json, resume_hint, stdout


def arena(
    config_file: Annotated[Path, typer.Option("--config", help="YAML file of the arena; see docs/arena.md.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder; reports/NAME when absent. Finished cells there are kept."),
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Try cross-architecture arms against their nulls on a pair, at several ratios and seeds, on held-out items."""
    from darwin_mri.arena import load_arena, run_arena
    from darwin_mri.report import print_arena, write_arena

    config = load_arena(config_file)
    folder = out or Path("reports") / config.name
    with resume_hint("interrupted; the same command goes on with the finished cells"):
        result = run_arena(config, folder, offline=offline, progress=ConsoleProgress(quiet))
    write_arena(result, folder)
    if as_json:
        print_json(result.model_dump(mode="json", by_alias=True))
        return
    print_arena(stdout, result)
    note(f"report in {folder / 'arena.html'}", quiet=quiet)
