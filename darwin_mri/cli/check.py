"""``darwin-mri check``."""

from __future__ import annotations

from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Device, Dtype, Json, Offline, print_json, stdout


def check(
    child: Annotated[str, typer.Argument(help="The child's folder.")],
    father: Annotated[str, typer.Option(help="The father it came from.")],
    mother: Annotated[
        str | None, typer.Option(help="Another parent: the child is then read on text that both write.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Exit 0 even when a gate fails.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a child's health; exit 3 when a gate fails."""
    from darwin_mri import pipeline
    from darwin_mri.report.renderers.command_tables import health_table

    health = pipeline.check(
        child, father, mother=mother, device=device or "auto", dtype=dtype or "auto", offline=offline
    )
    if as_json:
        print_json(health.model_dump(mode="json", by_alias=True))
    else:
        stdout.print(health_table(health))
    if not health.passed and not force:
        raise typer.Exit(3)
