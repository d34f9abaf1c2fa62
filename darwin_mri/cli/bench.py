"""``darwin-mri bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.console import ConsoleProgress
from darwin_mri.cli.options import (
    AllowTaskCode,
    Debug,
    Device,
    Dtype,
    Json,
    Offline,
    Quiet,
    Seed,
    Tasks,
    given,
    own_tasks,
    print_json,
    resume_hint,
    stdout,
)


def bench(
    models: Annotated[list[str] | None, typer.Argument(help="Models; the first is compared with the others.")] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Benchmarks, comma-separated: click, click_upstream, musr, musr_murder_mysteries,"
            " musr_object_placements, musr_team_allocation, gpqa, gpqa_main, gpqa_extended,"
            " nursery_click, nursery_musr, nursery_gpqa; when absent every --task, else the nursery's."
        ),
    ] = None,
    task: Tasks = None,
    allow_task_code: AllowTaskCode = False,
    data: Annotated[str | None, typer.Option(help="Folder with click/, musr/ and gpqa/; the hub when absent.")] = None,
    gpqa_password: Annotated[
        str | None,
        typer.Option(envvar="DARWIN_MRI_GPQA_PASSWORD", show_envvar=True, help="Of GPQA's zip; never stored."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Items per benchmark, a seeded sample; 8 or more.")] = None,
    long_items: Annotated[
        str | None,
        typer.Option(
            "--long",
            help="Items longer than a model's context: error, skip (for every model) or beyond (read all the same).",
        ),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Our scorer instead of lm-eval.")] = False,
    backend: Annotated[
        str | None, typer.Option(help="lm-eval's model backend: hf, vllm, sglang, local-completions, ...")
    ] = None,
    backend_args: Annotated[str | None, typer.Option(help="Passed through to the backend: a=1,b=2.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="loglikelihood, or generate (a chat answer with a letter in it).")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Generated answers per item; more than one is maj@k.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of generated answers; 0 is greedy.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a generated answer, thinking included.")] = None,
    thinking: Annotated[
        bool | None, typer.Option("--thinking/--no-thinking", help="Asked of the chat template.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="A model measured beside, such as a 27B.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="OpenAI-compatible URL of a served baseline; key from OPENAI_API_KEY.")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="Name it is served under.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for a server's next bytes.")] = None,
    retries: Annotated[int | None, typer.Option(help="Further tries of a failed request.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight.")] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of answers and comparison.json; answers there are taken over.")
    ] = Path("reports/bench"),
    device: Device = None,
    dtype: Dtype = None,
    seed: Seed = None,
    offline: Offline = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Score models on benchmarks, with intervals and paired tests; the same command goes on after an interruption."""
    from darwin_mri import pipeline
    from darwin_mri.config import make_bench_config, make_tasks
    from darwin_mri.config_tasks import allow_code
    from darwin_mri.errors import ConfigError
    from darwin_mri.pipeline import ScoreOptions
    from darwin_mri.report import contrasts_table, scores_table
    from darwin_mri.report.renderers.command_tables import bench_notes

    served = {
        "url": endpoint,
        "model": endpoint_model,
        "timeout": timeout,
        "retries": retries,
        "concurrency": concurrency,
    }
    generation = {
        "samples": samples,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "thinking": thinking,
    }
    own = allow_code(make_tasks(own_tasks(task) or {}, "--task"), allow_task_code)
    named = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    settings = {
        "tasks": [*dict.fromkeys((*(named or ()), *own))] if named is not None or own else None,
        "items": limit,
        "long_items": long_items,
        "harness": not fast,
        "backend": backend,
        "backend_args": backend_args,
        "protocol": protocol,
        "baseline": baseline,
        "generation": given(generation),
        "endpoint": given(served) if endpoint else None,
    }
    if endpoint is None and (endpoint_model or timeout or retries is not None or concurrency):
        raise ConfigError("--endpoint-model, --timeout, --retries and --concurrency belong to --endpoint: give its URL")
    if not endpoint and protocol != "generate" and given(generation):
        raise ConfigError("--samples, --temperature, --max-new-tokens and --thinking belong to --protocol generate")
    if fast and (protocol == "generate" or backend or backend_args):
        raise ConfigError("--fast scores log-likelihoods by itself: it takes no --protocol generate and no backend")
    config = make_bench_config(given(settings), "bench")
    options = ScoreOptions(
        own=own,
        data=data,
        gpqa_password=gpqa_password,
        seed=1 if seed is None else seed,
        device=device or "auto",
        dtype=dtype or "auto",
        offline=offline,
        progress=ConsoleProgress(quiet),
    )
    with resume_hint("interrupted; the same command goes on"):
        comparison = pipeline.bench(models or [], config, out, options)
    if as_json:
        print_json(comparison.model_dump(mode="json", by_alias=True))
        return
    stdout.print(scores_table(comparison))
    if comparison.contrasts:
        stdout.print(contrasts_table(comparison))
    for line in bench_notes(comparison):
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
