"""``darwin-mri merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import Debug, Device, Dtype, Json, Offline, Quiet, print_json, stdout

if TYPE_CHECKING:
    from darwin_mri.problem.requests import MergeRequest


def merge(
    genome_file: Annotated[
        Path | None, typer.Option("--genome", help="genome.json of a run, or one written by hand.")
    ] = None,
    mergekit: Annotated[
        Path | None,
        typer.Option("--mergekit", help="A mergekit recipe (YAML) in place of a genome."),
    ] = None,
    member: Annotated[
        int | None, typer.Option(help="Another member of the genome's front, by its number in the report.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the child.")] = None,
    export: Annotated[
        Path | None, typer.Option("--export-mergekit", help="Write the genome, or recipe, as mergekit's YAML.")
    ] = None,
    as_adapter: Annotated[
        int | None,
        typer.Option(
            metavar="RANK", help="Write the child as a PEFT adapter of the base, or the father, of this rank."
        ),
    ] = None,
    father: Annotated[str | None, typer.Option(help="Replaces the genome's father.")] = None,
    mother: Annotated[str | None, typer.Option(help="Replaces the genome's mother.")] = None,
    parent: Annotated[
        list[str] | None,
        typer.Option(help="Replaces a parent after the mother; given once for each of them, in order."),
    ] = None,
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

    contradictions = {
        "give either --genome FILE or --mergekit FILE": (genome_file is None) == (mergekit is None),
        "--seed belongs to --mergekit: a genome has a seed of its own": genome_file is not None and seed is not None,
        "give --out FOLDER for the child, or --export-mergekit FILE for the recipe": out is None and export is None,
        "--member belongs to --genome: a recipe has no front": mergekit is not None and member is not None,
        "--donors belongs to --genome: a recipe has none": mergekit is not None and donors is not None,
        "--parent belongs to --genome: name the recipe's models in the recipe": mergekit is not None and bool(parent),
    }
    for fault, given in contradictions.items():
        if given:
            raise ConfigError(fault)
    progress = ConsoleProgress(quiet)
    overrides = {
        "father": father,
        "mother": mother,
        "further": parent,
        "base": base,
        "device": device,
        "dtype": dtype,
    }
    seed = 1 if seed is None else seed
    request = None
    if genome_file is not None or export is not None or as_adapter is not None:
        request = read_merge(genome_file, mergekit, overrides, donors=donors, seed=seed, member=member, offline=offline)
        for text in request.notes:
            progress.say(f"note: {text}")
    if export is not None and request is not None:
        for text in export_recipe(request, export, offline=offline):
            progress.say(f"note: {text}")
        progress.say(f"recipe in {export}")
    if out is None:
        if as_json:
            print_json({"recipe": str(export)})
        return
    if as_adapter is not None and request is not None:
        _write_adapter(request, out, as_adapter, offline, as_json, progress)
        return
    if mergekit is not None:
        from darwin_mri.stages.recipe import merge_recipe

        files = merge_recipe(mergekit, out, seed=seed, overrides=overrides, offline=offline, progress=progress)
    else:
        assert request is not None
        files = pipeline.merge(
            request.config,
            request.genome,
            out,
            donors=request.donors,
            moments=request.folder,
            offline=offline,
            progress=progress,
        )
    if as_json:
        print_json(files.model_dump(mode="json", by_alias=True))
    else:
        line = f"{out}: {len(files.changed)} of {files.tensors} tensors differ from the father's"
        stdout.print(line, markup=False, soft_wrap=True)


def _write_adapter(
    request: MergeRequest, out: Path, rank: int, offline: bool, as_json: bool, progress: ConsoleProgress
) -> None:
    """Write the child as an adapter, and print what the rank costs."""
    from dataclasses import asdict

    from darwin_mri.problem.parents import Parents
    from darwin_mri.stages.adapter import merge_as_adapter

    parents = Parents.find(request.config, offline=offline)
    fit = merge_as_adapter(request, parents, out, rank=rank, progress=progress)
    if as_json:
        print_json(asdict(fit))
    else:
        stdout.print(f"{out}: {fit.sentence}", markup=False, soft_wrap=True)
