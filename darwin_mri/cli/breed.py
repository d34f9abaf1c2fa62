"""``darwin-mri breed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import (
    AllowTaskCode,
    Base,
    BenchmarkData,
    Budget,
    ConfigFile,
    Debug,
    Device,
    Dtype,
    Father,
    Further,
    Json,
    MomentsFrom,
    Mother,
    Offline,
    Overwrite,
    Quiet,
    Seed,
    Tasks,
    TimeLimit,
    Workers,
    command_line,
    note,
    own_tasks,
    print_json,
    resume_hint,
    stdout,
)


def breed(
    config_file: ConfigFile = None,
    father: Father = None,
    mother: Mother = None,
    parent: Further = None,
    base: Base = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Operator (task_arithmetic, dare_ties, ...) or, for two parents, arm (folded, aligned, ...)."
        ),
    ] = None,
    budget: Budget = None,
    time_limit: TimeLimit = None,
    workers: Workers = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="After the search, solve the child's linear maps again toward its parents' outputs."
        ),
    ] = False,
    task: Tasks = None,
    allow_task_code: AllowTaskCode = False,
    moments_from: MomentsFrom = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER",
            help="Log the run to trackio, wandb, mlflow or tensorboard (docs/search.md). May be given several times.",
        ),
    ] = None,
    data: BenchmarkData = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; reports/NAME when absent.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder with its own config.")] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Begin without enough memory or disk; exit 0 although the child fails its health check."
        ),
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    offline: Offline = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Scan, derive the prior, search, write the child, measure it against parents and null children, and report."""
    from darwin_mri import pipeline
    from darwin_mri.config import load_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import build_view, load_run, print_report
    from darwin_mri.run.folder import RESUME_CONFIG

    if resume is None and config_file is None and (father is None or mother is None):
        raise ConfigError("give --config FILE, or --father and --mother, or --resume RUN")
    overrides = {
        "father": father,
        "mother": mother,
        "further": parent,
        "base": base,
        "method": method,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "tasks": own_tasks(task),
        "data": data,
        "scan": {"moments_from": tuple(moments_from) if moments_from else None},
        "repair": {} if repair else None,
        "log": log or None,
        "search": {"budget": budget, "time_limit": time_limit, "workers": workers},
    }
    source = resume / RESUME_CONFIG if resume is not None and config_file is None else config_file
    config = load_config(source, overrides).allowing_code(allow_task_code)
    folder = resume or out or Path("reports") / config.name
    with resume_hint(f"interrupted; continue with: darwin-mri breed --resume {folder}"):
        result = pipeline.breed(
            config,
            folder,
            force=force,
            argv=command_line(),
            offline=offline,
            resume=resume is not None,
            overwrite=overwrite,
            progress=ConsoleProgress(quiet),
        )
    if as_json:
        print_json(result.comparison.model_dump(mode="json", by_alias=True))
        return
    print_report(stdout, build_view(load_run(folder)))
    note(f"child in {folder / 'child'}, report in {folder / 'report.html'}", quiet=quiet)
