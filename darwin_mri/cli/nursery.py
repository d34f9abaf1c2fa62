"""``darwin-mri nursery``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Json, print_json, stdout

app = typer.Typer(invoke_without_command=True, help="List the bundled parents, or train them again.")


@app.callback()
def nursery(context: typer.Context, as_json: Json = False) -> None:
    """List the bundled parents."""
    if context.invoked_subcommand is not None:
        return
    from darwin_mri.nursery import list_nursery

    rows = list_nursery()
    if as_json:
        print_json(rows)
        return
    for row in rows:
        line = f"nursery:{row['name']:<18} {row['role']:<42} {row['family']:<14} {row['sha256'][:12]}"
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("train")
def nursery_train(
    corpus: Annotated[
        Path,
        typer.Option(
            help="Folder with the five files that darwin_mri/nursery/mixture.py names; their sources are in NOTICE."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the trained models.")],
    world: Annotated[
        int | None,
        typer.Option(help="Seed of another world to read of; benchmarks nursery_click@SEED ask about it."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train the nursery's four models again (about half an hour on two cores), in its own world or another."""
    from darwin_mri.nursery.recipe import train_all
    from darwin_mri.nursery.world import WORLD_SEED

    train_all(corpus, out, world_seed=WORLD_SEED if world is None else world)
