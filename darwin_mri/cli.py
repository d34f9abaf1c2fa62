"""The command darwin-mri: parses, calls the pipeline, prints. Results go to stdout, progress and talk to stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.exceptions import TyperException

from darwin_mri import __version__
from darwin_mri.errors import DarwinError
from darwin_mri.talk import Talk, err

if TYPE_CHECKING:
    from darwin_mri.records import Comparison

app = typer.Typer(
    name="darwin-mri", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Look into two language models before merging them; breed a child from what was seen; show what was gained.",
)  # fmt: skip
nursery_app = typer.Typer(invoke_without_command=True, help="List the bundled parents, or train them again.")
app.add_typer(nursery_app, name="nursery")

out_console = Console()
DEBUG = "--debug"

Out = Annotated[Path, typer.Option("--out", help="Run folder to write.")]
Device = Annotated[str | None, typer.Option(help="auto, cuda or cpu.")]
Dtype = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the model hub.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no talk.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")]
BenchmarkData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder with the benchmark files: click/, musr/, gpqa/. Where no config says what is asked, CLIcK and MuSR then are, not the nursery's.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of probes, splits, masks and search.")]
Father = Annotated[
    str | None,
    typer.Option(help="Hub id (name@revision), folder, or nursery:NAME; the child keeps this one's shapes and config."),
]
Mother = Annotated[str | None, typer.Option(help="The other parent, named likewise.")]
Base = Annotated[str | None, typer.Option(help="Common ancestor of both, for task vectors.")]
Debug = Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")]


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _argv() -> tuple[str, ...]:
    """The command as typed, with absolute paths cut to their last names: it is published in the manifest."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return ("darwin-mri", *words)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"darwin-mri {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def scan(
    model: Annotated[str | None, typer.Argument(help="Hub id (name@revision), folder, or nursery:NAME.")] = None,
    against: Annotated[str | None, typer.Option(help="Second parent: scan both and the pair, and derive the prior.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="YAML file of a run, whose parents are scanned in place of MODEL; flags override it.")] = None,
    base: Annotated[str | None, typer.Option(help="Common ancestor of both, for task vectors.")] = None,
    method: Annotated[str | None, typer.Option(help="Merge method the prior is for; when absent task_arithmetic for parents of the same tensors, else folded (of unequal hidden sizes: give aligned or competence).")] = None,
    out: Out = Path("reports/scan"),
    probes: Annotated[str | None, typer.Option(help="Folder of JSONL probe texts; built-in when absent.")] = None,
    protect: Annotated[str | None, typer.Option(help="Languages or domains to protect, e.g. ko,code.")] = None,
    documents: Annotated[int | None, typer.Option(help="Probe documents per language and domain.")] = None,
    preset: Annotated[str | None, typer.Option(help="response, flat, v5, v6 or paper: how the prior is derived.")] = None,
    validate: Annotated[bool, typer.Option("--validate", help="Measure the truth of blending each gene alone, and how well each preset foresaw it.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted scan in --out.")] = False,
    device: Device = None, dtype: Dtype = None, seed: Seed = None, offline: Offline = False, overwrite: Overwrite = False,
    quiet: Quiet = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Scan a model layer by layer, or two models and how they correspond."""
    from darwin_mri import pipeline
    from darwin_mri.config import ARMS, load_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report.terminal import print_scan

    if (model is None) == (config_file is None):
        raise ConfigError("give a model (with --against, two), or --config FILE")
    if config_file is None:
        assert model is not None
        cross = against is not None and method is None and not _siblings(model, against, offline)
        method = method or ("folded" if cross else "task_arithmetic")
    space = None if method is None else "ffn" if method in ARMS else "layers"
    config = load_config(config_file, {
        "name": None if config_file else "scan", "father": model, "mother": against or model, "base": base, "method": method,
        "seed": seed, "device": device, "dtype": dtype,
        "scan": {"probes": probes, "documents": documents, "validation": validate or None},
        "prior": {"protect": protect.split(",") if protect else None, "preset": preset}, "search": {"space": space},
    })  # fmt: skip
    pair_wanted = config_file is not None or against is not None
    if validate and not pair_wanted:
        raise ConfigError("--validate measures what blending two parents does: give --against the other parent")
    try:
        first, pair, prior = pipeline.scan(
            config, out, pair=pair_wanted, argv=_argv(), offline=offline, overwrite=overwrite, resume=resume,
            progress=Talk(quiet),
        )  # fmt: skip
    except KeyboardInterrupt:
        err.print(f"interrupted; continue with: {' '.join(_argv())} --resume", markup=False, highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        document = {"father": first, "mother": pair and pair.mother, "pair": pair and pair.pair, "prior": prior}
        _print_json({k: v.model_dump(mode="json", by_alias=True) for k, v in document.items() if v is not None})
        return
    if pair is None:
        print_scan(out_console, first)
    else:
        print_scan(out_console, pair.father, pair=pair.pair, prior=prior, other=pair.mother)
    if not quiet:
        err.print(f"records in {out}", markup=False, highlight=False)


def _siblings(first: str, second: str, offline: bool) -> bool:
    from darwin_mri.stages.parents import find, same_shape

    return same_shape(find(first, offline), find(second, offline))


@app.command()
def breed(
    config_file: Annotated[Path | None, typer.Option("--config", help="YAML file; flags below override it.")] = None,
    father: Father = None,
    mother: Mother = None,
    base: Base = None,
    method: Annotated[str | None, typer.Option(help="Operator (task_arithmetic, dare_ties, ...) or arm (folded, aligned, ...).")] = None,
    budget: Annotated[int | None, typer.Option(help="Evaluations of the search.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds after which the search begins no generation.")] = None,
    workers: Annotated[str | None, typer.Option(help="here, devices or ray: who evaluates candidates.")] = None,
    data: BenchmarkData = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; reports/NAME when absent.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this folder with its own config.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Begin without enough memory or disk; exit 0 although the child fails its health check.")] = False,
    device: Device = None, dtype: Dtype = None, seed: Seed = None, offline: Offline = False, overwrite: Overwrite = False,
    quiet: Quiet = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Scan, derive the prior, search, write the child, measure it against parents and null children, and report."""
    from darwin_mri import pipeline
    from darwin_mri.config import ARMS, load_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import build_view, load_run
    from darwin_mri.report.terminal import print_report

    if resume is None and config_file is None and (father is None or mother is None):
        raise ConfigError("give --config FILE, or --father and --mother, or --resume RUN")
    source = config_file
    if resume is not None and config_file is None:
        source = resume / "state" / "config.yaml"
    overrides: dict[str, Any] = {
        "father": father, "mother": mother, "base": base, "method": method, "seed": seed, "device": device, "dtype": dtype,
        "data": data, "search": {"budget": budget, "time_limit": time_limit, "workers": workers},
    }  # fmt: skip
    if method in ARMS:
        overrides["search"]["space"] = "ffn"
    config = load_config(source, overrides)
    folder = resume or out or Path("reports") / config.name
    try:
        result = pipeline.breed(
            config, folder, argv=_argv(), offline=offline, resume=resume is not None, overwrite=overwrite, force=force,
            progress=Talk(quiet),
        )  # fmt: skip
    except KeyboardInterrupt:
        err.print(f"interrupted; continue with: darwin-mri breed --resume {folder}", markup=False, highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        _print_json(result.comparison.model_dump(mode="json", by_alias=True))
        return
    print_report(out_console, build_view(load_run(folder)))
    if not quiet:
        err.print(f"child in {folder / 'child'}, report in {folder / 'report.html'}", markup=False, highlight=False)


@app.command()
def merge(
    genome_file: Annotated[Path | None, typer.Option("--genome", help="genome.json of a run, or one written by hand.")] = None,
    mergekit: Annotated[Path | None, typer.Option("--mergekit", help="A mergekit recipe (YAML) in place of a genome.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the child.")] = None,
    export: Annotated[Path | None, typer.Option("--export-mergekit", help="Write the recipe as mergekit's YAML.")] = None,
    father: Annotated[str | None, typer.Option(help="Replaces the genome's father.")] = None,
    mother: Annotated[str | None, typer.Option(help="Replaces the genome's mother.")] = None,
    base: Annotated[str | None, typer.Option(help="Replaces the genome's base.")] = None,
    donors: Annotated[Path | None, typer.Option(help="Donors kept with a run; the genome's own when absent.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the masks of a mergekit recipe; 1 when absent. A genome has its own.")] = None,
    device: Device = None, dtype: Dtype = None, offline: Offline = False, quiet: Quiet = False,
    as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Write the child of a given genome or mergekit recipe, without a search."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.records import Genome
    from darwin_mri.stages import recipes

    if (genome_file is None) == (mergekit is None):
        raise ConfigError("give either --genome FILE or --mergekit FILE")
    if genome_file is not None and seed is not None:
        raise ConfigError("--seed belongs to --mergekit: a genome has a seed of its own")
    if out is None and export is None:
        raise ConfigError("give --out FOLDER for the child, or --export-mergekit FILE for the recipe")
    parents: dict[str, str | None] = {}
    talk = Talk(quiet)
    if mergekit is not None:
        genome, parents, notes = recipes.from_mergekit(mergekit, 1 if seed is None else seed, offline)
        for note in notes:
            talk.say(f"note: {note}")
        where = str(mergekit)
    else:
        assert genome_file is not None
        genome, where = Genome.load(genome_file), str(genome_file)
    config = recipes.genome_config(
        genome, where, father=father or parents.get("father"), mother=mother or parents.get("mother"),
        base=base or parents.get("base"), device=device, dtype=dtype,
    )  # fmt: skip
    if genome_file is not None and donors is None and config.cross:
        kept = genome_file.parent / "state" / "donors"
        donors = kept if kept.is_dir() else None
    if export is not None:
        for note in recipes.to_mergekit(genome, config, export, offline):
            talk.say(f"note: {note}")
        talk.say(f"recipe in {export}")
    if out is None:
        if as_json:
            _print_json({"recipe": str(export)})
        return
    files = recipes.merge_genome(config, genome, out, donors=donors, offline=offline, progress=talk)
    if as_json:
        _print_json(files.model_dump(mode="json", by_alias=True))
    else:
        out_console.print(
            f"{out}: {len(files.changed)} of {files.tensors} tensors differ from the father's",
            markup=False,
            soft_wrap=True,
        )


@app.command()
def plan(
    config_file: Annotated[Path | None, typer.Option("--config", help="YAML file; flags below override it.")] = None,
    father: Father = None,
    mother: Mother = None,
    base: Base = None,
    method: Annotated[str | None, typer.Option(help="Operator or arm.")] = None,
    budget: Annotated[int | None, typer.Option(help="Evaluations of the search.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds after which the search begins no generation.")] = None,
    workers: Annotated[str | None, typer.Option(help="here, devices or ray: who evaluates candidates.")] = None,
    data: BenchmarkData = None,
    out: Annotated[Path, typer.Option("--out", help="Where the run would be written.")] = Path("reports"),
    rate: Annotated[float | None, typer.Option(min=1e-6, help="TFLOP/s that a forward pass reaches, as python -m speed.rehearsal measures it.")] = None,
    device: Device = None, dtype: Dtype = None, offline: Offline = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Say what a run would need and whether it can be run, without reading a weight; exit 3 when it cannot."""
    from darwin_mri.config import ARMS, load_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report.planned import print_plan
    from darwin_mri.stages.planning import plan_run

    if config_file is None and (father is None or mother is None):
        raise ConfigError("give --config FILE, or --father and --mother")
    search = {
        "budget": budget,
        "time_limit": time_limit,
        "workers": workers,
        "space": "ffn" if method in ARMS else None,
    }
    config = load_config(config_file, {
        "father": father, "mother": mother, "base": base, "method": method, "device": device, "dtype": dtype, "data": data,
        "search": search,
    })  # fmt: skip
    found = plan_run(config, out, offline=offline, rate=rate and rate * 1e12)
    if as_json:
        _print_json(found.model_dump(mode="json", by_alias=True))
    else:
        print_plan(out_console, found)
    if not found.fits:
        raise typer.Exit(3)


@app.command()
def bench(
    models: Annotated[list[str] | None, typer.Argument(help="Models; the first is compared with the others.")] = None,
    tasks: Annotated[str, typer.Option(help="Benchmarks, comma-separated: click, click_upstream, musr, musr_murder_mysteries, musr_object_placements, musr_team_allocation, gpqa, gpqa_main, gpqa_extended, nursery_click, nursery_musr, nursery_gpqa.")] = "nursery_click,nursery_musr,nursery_gpqa",
    data: Annotated[str | None, typer.Option(help="Folder with click/, musr/ and gpqa/; the hub when absent.")] = None,
    gpqa_password: Annotated[str | None, typer.Option(envvar="DARWIN_MRI_GPQA_PASSWORD", show_envvar=True, help="Of GPQA's zip; never stored.")] = None,
    limit: Annotated[int | None, typer.Option(help="Items per benchmark, a seeded sample; 8 or more.")] = None,
    long_items: Annotated[str | None, typer.Option("--long", help="Items longer than a model's context: error, skip (for every model) or beyond (read all the same).")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Our scorer instead of lm-eval.")] = False,
    backend: Annotated[str | None, typer.Option(help="lm-eval's model backend: hf, vllm, sglang, local-completions, ...")] = None,
    backend_args: Annotated[str | None, typer.Option(help="Passed through to the backend: a=1,b=2.")] = None,
    protocol: Annotated[str | None, typer.Option(help="loglikelihood, or generate (a chat answer with a letter in it).")] = None,
    samples: Annotated[int | None, typer.Option(help="Generated answers per item; more than one is maj@k.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of generated answers; 0 is greedy.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Of a generated answer, thinking included.")] = None,
    thinking: Annotated[bool | None, typer.Option("--thinking/--no-thinking", help="Asked of the chat template.")] = None,
    baseline: Annotated[str | None, typer.Option(help="A model measured beside, such as a 27B.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible URL of a served baseline; key from OPENAI_API_KEY.")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="Name it is served under.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for a server's next bytes.")] = None,
    retries: Annotated[int | None, typer.Option(help="Further tries of a failed request.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of answers and comparison.json; answers there are taken over.")] = Path("reports/bench"),
    device: Device = None, dtype: Dtype = None, seed: Seed = None, offline: Offline = False, quiet: Quiet = False,
    as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Score models on benchmarks, with intervals and paired tests. The same command goes on where one was interrupted."""
    from darwin_mri import pipeline
    from darwin_mri.config import make_bench_config
    from darwin_mri.errors import ConfigError
    from darwin_mri.report.terminal import contrasts_table, scores_table

    served = {
        "url": endpoint,
        "model": endpoint_model,
        "timeout": timeout,
        "retries": retries,
        "concurrency": concurrency,
    }
    generation = {
        "samples": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "thinking": thinking,
    }  # fmt: skip
    options: dict[str, Any] = {
        "tasks": [name.strip() for name in tasks.split(",") if name.strip()], "items": limit, "long_items": long_items,
        "harness": not fast, "backend": backend, "backend_args": backend_args, "protocol": protocol, "baseline": baseline,
        "generation": _given(generation), "endpoint": _given(served) if endpoint else None,
    }  # fmt: skip
    if endpoint is None and (endpoint_model or timeout or retries is not None or concurrency):
        raise ConfigError("--endpoint-model, --timeout, --retries and --concurrency belong to --endpoint: give its URL")
    if not endpoint and protocol != "generate" and _given(generation):
        raise ConfigError("--samples, --temperature, --max-new-tokens and --thinking belong to --protocol generate")
    if fast and (protocol == "generate" or backend or backend_args):
        raise ConfigError("--fast scores log-likelihoods by itself: it takes no --protocol generate and no backend")
    config = make_bench_config(_given(options), "bench")
    try:
        comparison = pipeline.bench(
            models or [], config, out, data=data, gpqa_password=gpqa_password, seed=1 if seed is None else seed,
            device=device or "auto", dtype=dtype or "auto", offline=offline, progress=Talk(quiet),
        )  # fmt: skip
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on", markup=False, highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        _print_json(comparison.model_dump(mode="json", by_alias=True))
        return
    out_console.print(scores_table(comparison))
    if comparison.contrasts:
        out_console.print(contrasts_table(comparison))
    for line in bench_notes(comparison):
        out_console.print(line, markup=False, highlight=False, soft_wrap=True)


def bench_notes(comparison: Comparison) -> list[str]:
    """What stands below the tables: what each benchmark's name means here, protocols by hash, other metrics, alerts."""
    lines = [f"{info.name}: {info.title}" for info in comparison.benchmarks]
    lines += [f"protocol {p.hash}: {p.label}; headline {p.metric}" for p in comparison.protocols]
    for s in comparison.secondary:
        interval = "" if s.low is None or s.high is None else f" [{100 * s.low:.1f}, {100 * s.high:.1f}]"
        lines.append(f"{s.benchmark} by {s.metric}: {s.model} {100 * s.value:.1f} %{interval}")
    return lines + [f"{alert.level}: {alert.text}" for alert in comparison.alerts]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folder; several are compared on one page.")],
    out: Annotated[Path | None, typer.Option("--out", help="Page that compares several runs; runs.html beside them when absent.")] = None,
    push: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="Upload child, card, report and records to this hub repository.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --push: show what would be uploaded, upload nothing.")] = False,
    private: Annotated[bool, typer.Option("--private", help="With --push: make the repository private if it is new.")] = False,
    force: Annotated[bool, typer.Option("--force", help="With --push: publish although the health check fails or is missing.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Render a run's terminal report, report.html and card.md again, or compare several runs, from records alone."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import write_report, write_runs_report
    from darwin_mri.report.terminal import print_report

    if push is None and (dry_run or private or force):
        raise ConfigError("--dry-run, --private and --force belong to --push: give --push OWNER/NAME too")
    if push is not None:
        _push(runs, push, dry_run=dry_run, private=private, force=force, as_json=as_json)
        return
    if len(runs) == 1 and out is None:
        view, page = write_report(runs[0]), runs[0] / "report.html"
    else:
        view, page = write_runs_report(runs, out)
    if as_json:
        _print_json({
            "html": page.name, "name": view.name, "headline": view.verdict.headline, "tone": view.verdict.tone,
            "answers": [{"question": question, "answer": answer} for question, answer in view.verdict.answers],
            "alerts": [alert.model_dump() for alert in view.alerts],
            "missing": [{"file": part.file, "what": part.what, "command": part.command} for part in view.missing],
        })  # fmt: skip
    else:
        print_report(out_console, view)
    if not quiet:
        err.print(f"written: {page}", markup=False, highlight=False, soft_wrap=True)


def _push(runs: list[Path], repo: str, *, dry_run: bool, private: bool, force: bool, as_json: bool) -> None:
    """Upload one run's child, or say what would be uploaded."""
    from darwin_mri.errors import ConfigError
    from darwin_mri.report import render_html, write_report
    from darwin_mri.report.hub import plan, push
    from darwin_mri.report.words import clean, size

    if len(runs) != 1:
        raise ConfigError("--push publishes one child: give one run")
    view = write_report(runs[0])
    uploads = plan(runs[0], view, repo, render_html(view), force=force)
    if as_json:
        _print_json(
            {"repository": repo, "dry_run": dry_run, "files": [{"path": u.path, "size": u.size} for u in uploads]}
        )
    else:
        for upload in uploads:
            out_console.print(
                f"{size(upload.size):>10}  {clean(upload.path)}", markup=False, highlight=False, soft_wrap=True
            )
    total = f"{len(uploads)} files, {size(sum(u.size for u in uploads))}, to {repo}"
    if view.facts is not None and not view.facts.licence:
        err.print("no licence is set: the parents' cards state none or differ", markup=False, highlight=False)
    if dry_run:
        err.print(f"dry run, nothing was uploaded: {total}", markup=False, highlight=False, soft_wrap=True)
        return
    address = push(uploads, repo, private=private, message=f"{view.name}: child, card and report by darwin_mri")
    err.print(f"uploaded {total}: {address}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(
    child: Annotated[str, typer.Argument(help="The child's folder.")],
    father: Annotated[str, typer.Option(help="The father it came from.")],
    mother: Annotated[str | None, typer.Option(help="Its mother: the child is then read on text both parents write.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Exit 0 even when a gate fails.")] = False,
    device: Device = None, dtype: Dtype = None, offline: Offline = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Check a child's health; exit 3 when a gate fails."""
    from darwin_mri import pipeline

    health = pipeline.check(
        child, father, mother=mother, device=device or "auto", dtype=dtype or "auto", offline=offline
    )
    if as_json:
        _print_json(health.model_dump(mode="json", by_alias=True))
    else:
        table = Table("gate", "", "measured", "limit")
        table.add_column("note", overflow="fold")
        for gate in health.gates:
            value = gate.value if isinstance(gate.value, str) else f"{gate.value:g}"
            cells = (gate.name, "ok" if gate.passed else "FAILED", value, gate.limit, gate.note)
            table.add_row(*(escape(cell) for cell in cells))
        out_console.print(table)
    if not health.passed and not force:
        raise typer.Exit(3)


@app.command()
def arena(
    config_file: Annotated[Path, typer.Option("--config", help="YAML file of the arena; see docs/arena.md.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder; reports/NAME when absent. Finished cells there are kept.")] = None,
    offline: Offline = False, quiet: Quiet = False, as_json: Json = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Try cross-architecture arms against their nulls on a pair, at several ratios and seeds, on held-out items."""
    from darwin_mri.report.arena import write_arena
    from darwin_mri.report.terminal import print_arena
    from darwin_mri.stages.arena import load_arena, run_arena

    config = load_arena(config_file)
    folder = out or Path("reports") / config.name
    try:
        result = run_arena(config, folder, offline=offline, progress=Talk(quiet))
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on with the finished cells", markup=False, highlight=False)
        raise typer.Exit(130) from None
    write_arena(result, folder)
    if as_json:
        _print_json(result.model_dump(mode="json", by_alias=True))
        return
    print_arena(out_console, result)
    if not quiet:
        err.print(f"report in {folder / 'arena.html'}", markup=False, highlight=False)


@nursery_app.callback()
def nursery(context: typer.Context, as_json: Json = False) -> None:
    """List the bundled parents."""
    if context.invoked_subcommand is not None:
        return
    from darwin_mri.nursery import list_nursery

    rows = list_nursery()
    if as_json:
        _print_json(rows)
        return
    for row in rows:
        out_console.print(
            f"nursery:{row['name']:<18} {row['role']:<42} {row['family']:<14} {row['sha256'][:12]}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


@nursery_app.command("train")
def nursery_train(
    corpus: Annotated[Path, typer.Option(help="Folder with the five files that darwin_mri/nursery/recipe.py names; their sources are in NOTICE.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained models.")],
    world: Annotated[int | None, typer.Option(help="Seed of another world to read of; benchmarks nursery_click@SEED ask about it.")] = None,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Train the nursery's four models again from the recipe (about half an hour on two cores), in its own world or another."""
    from darwin_mri.nursery.recipe import train_all
    from darwin_mri.nursery.world import WORLD_SEED

    train_all(corpus, out, world_seed=WORLD_SEED if world is None else world)


def main() -> None:
    """Entry point: exit codes 0 done, 1 failed, 2 usage, 3 a gate failed, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = app(standalone_mode=False, prog_name="darwin-mri")
        sys.exit(code if isinstance(code, int) else 0)
    except TyperException as error:  # wrong usage: an unknown option, a missing argument
        usage: Any = error  # its type does not declare show, all of its children have it
        usage.show()
        sys.exit(usage.exit_code)
    except DarwinError as error:
        if DEBUG in sys.argv:
            raise
        err.print(f"darwin-mri: {' '.join(str(error).split())}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted", markup=False)
        sys.exit(130)


if __name__ == "__main__":
    main()
