"""``darwin-mri watch``."""

from __future__ import annotations

import time
from dataclasses import asdict
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
    """Show a run while it goes: stages, generations, best and mean, time left. Ctrl-C ends the looking, not the run."""
    from rich.live import Live

    from darwin_mri.report import live_tables, read_live

    seen = read_live(run)
    if as_json:
        print_json(asdict(seen))
        return
    if once or not stdout.is_terminal:
        stdout.print(live_tables(seen))
        return
    with Live(live_tables(seen), console=stdout, auto_refresh=False) as shown:
        try:
            while seen.status == "running":
                time.sleep(every)
                seen = read_live(run)
                shown.update(live_tables(seen), refresh=True)
        except KeyboardInterrupt:
            return
