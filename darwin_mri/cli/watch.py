"""``darwin-mri watch``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Json, print_json, stdout


def watch(
    run: Annotated[Path, typer.Argument(help="Folder of a run that goes on, here or on a shared disk.")],
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; so does a stream that is no terminal.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show a run while it goes: stages, search, front, memory, workers. Ctrl-C ends the looking, not the run."""
    from pydantic import TypeAdapter
    from rich.live import Live

    from darwin_mri.report import LiveRun, Watched, live_tables

    watched = Watched(run)
    seen = watched.look()
    if as_json:
        print_json(TypeAdapter(LiveRun).dump_python(seen, mode="json"))
        return
    if once or not stdout.is_terminal:
        stdout.print(live_tables(seen))
        return
    with Live(live_tables(seen, fits=True), console=stdout, auto_refresh=False) as shown:
        try:
            while seen.status == "running":
                time.sleep(every)
                seen = watched.look()
                shown.update(live_tables(seen, fits=True), refresh=True)
        except KeyboardInterrupt:
            return
