"""``darwin-mri scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import (
    AllowTaskCode,
    Base,
    Debug,
    Device,
    Dtype,
    Json,
    MomentsFrom,
    MomentsKind,
    Offline,
    Out,
    Overwrite,
    Quiet,
    Seed,
    Tasks,
    command_line,
    note,
    own_tasks,
    print_json,
    resume_hint,
    show_uploads,
    stdout,
)


def scan(
    model: Annotated[
        str | None,
        typer.Argument(help="Hub id (name@revision), folder, nursery:NAME or FILE.gguf; with +ADAPTER."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Another parent, may be given several times: scan all, each beside MODEL; derive the prior."),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="YAML file of a run, whose parents are scanned in place of MODEL; flags override it."
        ),
    ] = None,
    base: Base = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Merge method the prior is for; when absent task_arithmetic for parents of the same tensors, else"
            " folded (of unequal hidden sizes: give aligned or competence)."
        ),
    ] = None,
    out: Out = Path("reports/scan"),
    probes: Annotated[str | None, typer.Option(help="Folder of JSONL probe texts; built-in when absent.")] = None,
    protect: Annotated[str | None, typer.Option(help="Languages or domains to protect, e.g. ko,code.")] = None,
    documents: Annotated[int | None, typer.Option(help="Probe documents per language and domain.")] = None,
    ablation: Annotated[
        str | None,
        typer.Option(help="fast or exact: whether mean ablation reads some documents of the probes, or all."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="response, cross-fitted, flat, v5, v6 or paper: how the prior is derived.")
    ] = None,
    task: Tasks = None,
    allow_task_code: AllowTaskCode = False,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Measure what blending each gene alone does, and how well each preset predicted it."
        ),
    ] = False,
    moments: MomentsKind = None,
    moments_from: MomentsFrom = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Publish the moments of MODEL on the hub, with a card.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --push: show what would be uploaded, upload nothing.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: make the repository private if it is new.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted scan in --out.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Scan a model layer by layer, or several models and how they correspond."""
    from darwin_mri import pipeline
    from darwin_mri.errors import ConfigError
    from darwin_mri.problem.requests import scan_config
    from darwin_mri.records.roles import FATHER, pair_file
    from darwin_mri.report import print_scan

    if (model is None) == (config_file is None):
        raise ConfigError("give a model (with --against, several), or --config FILE")
    mother, *further = against or [None]
    pair = config_file is not None or mother is not None
    if validate and not pair:
        raise ConfigError("--validate measures what blending parents does: give --against another parent")
    refuse_push(push, moments, pair=pair, dry_run=dry_run, private=private)
    overrides = {
        "father": model,
        "mother": mother,
        "further": further,
        "base": base,
        "method": method,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "tasks": own_tasks(task),
        "scan": {
            "probes": probes,
            "documents": documents,
            "ablation": ablation,
            "validation": validate or None,
            "moments": moments,
            "moments_from": tuple(moments_from) if moments_from else None,
        },
        "prior": {"protect": protect.split(",") if protect else None, "preset": preset},
    }
    config = scan_config(config_file, overrides, offline=offline).allowing_code(allow_task_code)
    with resume_hint(f"interrupted; continue with: {' '.join(command_line())} --resume"):
        scans, prior = pipeline.scan(
            config,
            out,
            pair=pair,
            argv=command_line(),
            offline=offline,
            overwrite=overwrite,
            resume=resume,
            progress=ConsoleProgress(quiet),
        )
    if push is not None:
        push_moments(out, push, dry_run=dry_run, private=private, as_json=as_json)
        return
    if as_json:
        records = {"father": scans.father, "prior": prior}
        for role, (scan_record, pair_record) in scans.by_parent.items():
            records |= {role: scan_record, Path(pair_file(role)).stem: pair_record}
        print_json({k: v.model_dump(mode="json", by_alias=True) for k, v in records.items() if v is not None})
        return
    named = {FATHER: scans.father, **{role: own for role, (own, _) in scans.by_parent.items()}}
    print_scan(stdout, named, {role: own for role, (_, own) in scans.by_parent.items()}, prior)
    note(f"records in {out}", quiet=quiet)


def refuse_push(push: str | None, moments: str | None, *, pair: bool, dry_run: bool, private: bool) -> None:
    """Raise ConfigError for options of a push that do not fit together, before anything is measured."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report.hub import require_repository

    if push is None:
        if dry_run or private:
            raise ConfigError("--dry-run and --private belong to --push: give --push OWNER/NAME too")
        return
    if pair or moments is None:
        raise ConfigError("--push publishes the moments of one model: give one MODEL, and --moments full or diagonal")
    require_repository(push)


def push_moments(out: Path, repo: str, *, dry_run: bool, private: bool, as_json: bool) -> None:
    """Upload a model's moments with a card, or say what would be uploaded."""
    from darwin_mri.merging.moments import read_header
    from darwin_mri.records.roles import FATHER, moments_file
    from darwin_mri.report.hub import push
    from darwin_mri.report.moments_card import moments_uploads

    path = out / moments_file(FATHER)
    header = read_header(path)
    uploads = moments_uploads(path, header)
    total = show_uploads(uploads, repo, dry_run=dry_run, as_json=as_json)
    if dry_run:
        note(f"dry run, nothing was uploaded: {total}")
        return
    address = push(uploads, repo, private=private, message=f"moments of {header.ref} by darwin_mri")
    note(f"uploaded {total}: {address}")
