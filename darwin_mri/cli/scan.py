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
    preset: Annotated[
        str | None, typer.Option(help="response, flat, v5, v6 or paper: how the prior is derived.")
    ] = None,
    task: Tasks = None,
    allow_task_code: AllowTaskCode = False,
    validate: Annotated[
        bool,
        typer.Option(
            "--validate", help="Measure what blending each gene alone does, and how well each preset predicted it."
        ),
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
        "scan": {"probes": probes, "documents": documents, "validation": validate or None},
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
    if as_json:
        records = {"father": scans.father, "prior": prior}
        for role, (scan_record, pair_record) in scans.by_parent.items():
            records |= {role: scan_record, Path(pair_file(role)).stem: pair_record}
        print_json({k: v.model_dump(mode="json", by_alias=True) for k, v in records.items() if v is not None})
        return
    named = {FATHER: scans.father, **{role: own for role, (own, _) in scans.by_parent.items()}}
    print_scan(stdout, named, {role: own for role, (_, own) in scans.by_parent.items()}, prior)
    note(f"records in {out}", quiet=quiet)
