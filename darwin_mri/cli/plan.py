"""``darwin-mri plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    Mother,
    Offline,
    Tasks,
    TimeLimit,
    Workers,
    own_tasks,
    print_json,
    stdout,
)


def plan(
    config_file: ConfigFile = None,
    father: Father = None,
    mother: Mother = None,
    parent: Further = None,
    base: Base = None,
    method: Annotated[str | None, typer.Option(help="Operator or, for two parents, arm.")] = None,
    budget: Budget = None,
    time_limit: TimeLimit = None,
    workers: Workers = None,
    task: Tasks = None,
    allow_task_code: AllowTaskCode = False,
    data: BenchmarkData = None,
    out: Annotated[Path, typer.Option("--out", help="Where the run would be written.")] = Path("reports"),
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="TFLOP/s that a forward pass reaches, as python -m speed.rehearsal measures it."),
    ] = None,
    device_memory: Annotated[
        float | None,
        typer.Option(min=0.1, help="GiB of the GPU that is planned for, such as 24, in place of this machine's."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a run would need and whether it can be run, without reading a weight; exit 3 when it cannot."""
    from darwin_mri import pipeline
    from darwin_mri.config import load_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import print_plan

    if config_file is None and (father is None or mother is None):
        raise ConfigError("give --config FILE, or --father and --mother")
    overrides = {
        "father": father,
        "mother": mother,
        "further": parent,
        "base": base,
        "method": method,
        "device": device,
        "dtype": dtype,
        "tasks": own_tasks(task),
        "data": data,
        "search": {"budget": budget, "time_limit": time_limit, "workers": workers},
    }
    config = load_config(config_file, overrides).allowing_code(allow_task_code)
    size = None if device_memory is None else int(device_memory * 2**30)
    record = pipeline.plan(config, out, offline=offline, rate=rate and rate * 1e12, memory=size)
    if as_json:
        print_json(record.model_dump(mode="json", by_alias=True))
    else:
        print_plan(stdout, record)
    if not record.fits:
        raise typer.Exit(3)
