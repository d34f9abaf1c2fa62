"""``darwin-mri merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import Debug, Device, Dtype, Json, Offline, Quiet, print_json, stdout


def merge(
    genome_file: Annotated[
        Path | None, typer.Option("--genome", help="genome.json of a run, or one written by hand.")
    ] = None,
    mergekit: Annotated[
        Path | None, typer.Option("--mergekit", help="A mergekit recipe (YAML) in place of a genome.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the child.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export-mergekit", help="Write the recipe as mergekit's YAML.")
    ] = None,
    as_adapter: Annotated[
        int | None, typer.Option(metavar="RANK", help="Write a PEFT adapter of the base, or father, of this rank.")
    ] = None,
    father: Annotated[str | None, typer.Option(help="Replaces the genome's father.")] = None,
    mother: Annotated[str | None, typer.Option(help="Replaces the genome's mother.")] = None,
    base: Annotated[str | None, typer.Option(help="Replaces the genome's base.")] = None,
    donors: Annotated[Path | None, typer.Option(help="Donors kept with a run; the genome's own when absent.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the masks of a mergekit recipe; 1 when absent. A genome has its own.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the child of a given genome or mergekit recipe, without a search."""
    from darwin_mri import pipeline
    from darwin_mri.errors import ConfigError
    from darwin_mri.problem.requests import export_recipe, read_merge

    if (genome_file is None) == (mergekit is None):
        raise ConfigError("give either --genome FILE or --mergekit FILE")
    if genome_file is not None and seed is not None:
        raise ConfigError("--seed belongs to --mergekit: a genome has a seed of its own")
    if out is None and export is None:
        raise ConfigError("give --out FOLDER for the child, or --export-mergekit FILE for the recipe")
    progress = ConsoleProgress(quiet)
    overrides = {"father": father, "mother": mother, "base": base, "device": device, "dtype": dtype}
    recipe = read_merge(
        genome_file, mergekit, overrides, donors=donors, seed=1 if seed is None else seed, offline=offline
    )
    for text in recipe.notes:
        progress.say(f"note: {text}")
    if export is not None:
        for text in export_recipe(recipe, export, offline=offline):
            progress.say(f"note: {text}")
        progress.say(f"recipe in {export}")
    if out is None:
        if as_json:
            print_json({"recipe": str(export)})
        return
    if as_adapter is not None:
        from dataclasses import asdict

        from darwin_mri.problem.parents import Parents
        from darwin_mri.stages.adapter import merge_as_adapter

        parents = Parents.find(recipe.config, offline=offline)
        fit = merge_as_adapter(recipe.genome, parents, out, rank=as_adapter, donors=recipe.donors, progress=progress)
        if as_json:
            print_json(asdict(fit))
        else:
            stdout.print(f"{out}: {fit.sentence}", markup=False, soft_wrap=True)
        return
    files = pipeline.merge(recipe.config, recipe.genome, out, donors=recipe.donors, offline=offline, progress=progress)
    if as_json:
        print_json(files.model_dump(mode="json", by_alias=True))
    else:
        line = f"{out}: {len(files.changed)} of {files.tensors} tensors differ from the father's"
        stdout.print(line, markup=False, soft_wrap=True)
