"""What several commands share: options, and how they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from darwin_mri.cli.console import err, stdout
from darwin_mri.errors import ConfigError

if TYPE_CHECKING:
    from darwin_mri.report.hub import Upload

DEBUG = "--debug"
# What keeps the libraries that know the hub from it; they read it when they are imported, which is after the options.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE")
TASK_KINDS = ("jsonl", "lm_eval", "nll", "agreement")  # as ``config_tasks``, which takes a second to import


def _stay_offline(asked: bool) -> bool:
    """Tell it to the libraries too, and to the processes that are started."""
    if asked:
        os.environ.update(dict.fromkeys(OFFLINE, "1"))
    return asked


ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; flags below override it.")]
Out = Annotated[Path, typer.Option("--out", help="Run folder to write.")]
Device = Annotated[str | None, typer.Option(help="auto, cuda or cpu.")]
Dtype = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")]
Offline = Annotated[bool, typer.Option("--offline", callback=_stay_offline, help="Never ask the model hub.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no messages.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run in --out.")]
Seed = Annotated[int | None, typer.Option(help="Seed of probes, splits, masks and search.")]
Debug = Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")]
Budget = Annotated[int | None, typer.Option(help="Evaluations of the search.")]
TimeLimit = Annotated[float | None, typer.Option(help="Seconds after which the search begins no generation.")]
Workers = Annotated[str | None, typer.Option(help="here, devices or ray: where candidates are evaluated.")]
Father = Annotated[
    str | None,
    typer.Option(
        help="Hub id (name@revision), folder, nursery:NAME or FILE.gguf, each also with +ADAPTER;"
        " the child keeps its shapes and config."
    ),
]
Mother = Annotated[str | None, typer.Option(help="The second parent, named likewise.")]
Further = Annotated[
    list[str] | None,
    typer.Option("--parent", help="A further parent of the same architecture, named likewise; up to six times."),
]
Base = Annotated[str | None, typer.Option(help="Common ancestor of all parents, for task vectors.")]
BenchmarkData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder with the benchmark files: click/, musr/, gpqa/. Where no config names benchmarks, CLIcK and MuSR"
        " are then used, not the nursery's.",
    ),
]
MomentsKind = Annotated[
    str | None,
    typer.Option(
        "--moments",
        metavar="diagonal|full",
        help="Measure second moments of the inputs of linear maps (moments.safetensors): squares, or all products.",
    ),
]
MomentsFrom = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|REPO",
        help="A file of moments, or a hub repository with one, in place of measuring; once for each parent, in order.",
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME=FILE",
        help="A task of your own: questions in a .jsonl, .csv or .parquet file, or a text; NAME=lm_eval:TASK,"
        " NAME=nll:TEXT and NAME=agreement:TEXT name the other kinds (docs/tasks.md). May be given several times.",
    ),
]

AllowTaskCode = Annotated[
    bool,
    typer.Option(
        "--allow-task-code", help="Run code that task files of lm-eval ask for: read it first; no config can allow it."
    ),
]


def own_tasks(given: list[str] | None) -> dict[str, dict[str, str]] | None:
    """The config's entries of NAME=FILE or NAME=KIND:VALUE words; None where there are none.

    A table needs no kind, and neither does a text file or a folder, whose NLL is scored.

    Raises:
        ConfigError: a word without a name or a value, or a name given twice.
    """
    entries: dict[str, dict[str, str]] = {}
    for word in given or ():
        name, _, value = word.partition("=")
        if not name or not value:
            raise ConfigError(f"--task {word}: write it as NAME=FILE, such as --task mine=questions.jsonl")
        if name in entries:
            raise ConfigError(f"--task {name} is given twice: give each task a name of its own")
        kind, _, rest = value.partition(":")
        is_text = Path(value).suffix.lower() in (".txt", ".md") or Path(value).is_dir()
        entries[name] = {kind: rest} if kind in TASK_KINDS and rest else {"nll" if is_text else "jsonl": value}
    return entries or None


def print_json(document: Any) -> None:
    """One JSON document to stdout; signs that the stream's encoding lacks are escaped, as JSON allows."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    try:
        text.encode(stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(document, indent=1)
    sys.stdout.write(text + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """A line to stderr, as it is."""
    if not quiet:
        err.print(text, markup=False, highlight=False, soft_wrap=True)


def command_line() -> tuple[str, ...]:
    """The command as typed, with absolute paths cut to their last names: it is published in the manifest."""
    words = map(_without_folder, sys.argv[1:])
    return ("darwin-mri", *(word.encode("utf-8", "replace").decode() for word in words))  # a name may be any bytes


def _without_folder(word: str) -> str:
    """A word whose absolute path, also behind ``--out=`` or a task's ``NAME=``, is cut to its last name."""
    before, equals, path = word.partition("=")
    if not equals or not Path(path).is_absolute():
        before, equals, path = "", "", word
    return before + equals + (Path(path).name if Path(path).is_absolute() else path)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in options.items() if value is not None}


@contextmanager
def resume_hint(text: str) -> Iterator[None]:
    """While open, Ctrl-C prints how to go on, and ends the command with 130."""
    try:
        yield
    except KeyboardInterrupt:
        note(text)
        raise typer.Exit(130) from None


def show_uploads(uploads: Sequence[Upload], repo: str, *, dry_run: bool, as_json: bool) -> str:
    """Print what a push uploads.

    Args:
        uploads: in order.
        repo: where they go.
        dry_run: whether nothing is uploaded.
        as_json: print JSON.

    Returns:
        How many files of what size, in words.
    """
    from darwin_mri.report.formats import clean, size

    if as_json:
        files = [{"path": upload.path, "size": upload.size} for upload in uploads]
        print_json({"repository": repo, "dry_run": dry_run, "files": files})
    else:
        for upload in uploads:
            line = f"{size(upload.size):>10}  {clean(upload.path)}"
            stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    return f"{len(uploads)} files, {size(sum(upload.size for upload in uploads))}, to {repo}"
