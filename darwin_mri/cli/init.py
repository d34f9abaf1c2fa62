"""``darwin-mri init``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from darwin_mri.cli.options import Debug, Json, Offline, Tasks, note, own_tasks, print_json, stdout

LEAST = 2  # parents


def init(
    parent: Annotated[
        list[str] | None,
        typer.Option("--parent", help="A model, named as --father of breed; twice or more, the child's shape first."),
    ] = None,
    base: Annotated[str | None, typer.Option(help="The model that all parents were trained from.")] = None,
    task: Tasks = None,
    protect: Annotated[
        str | None, typer.Option(help="Languages or domains that must not get worse, e.g. ko,code.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the run; child when absent.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file; NAME.yaml when absent.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: what no option says has its default.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    offline: Offline = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a config for your parents and your wish, and say what its run needs; exit 3 when it cannot be run."""
    from darwin_mri import pipeline
    from darwin_mri.errors import ConfigError
    from darwin_mri.files import writing
    from darwin_mri.problem.draft import Wish, common_base, draft_config
    from darwin_mri.report import print_plan_summary

    parents = tuple(parent or (() if yes else _ask_parents()))
    if len(parents) < LEAST:
        raise ConfigError("two parents are needed: give --parent MODEL twice or more, the child's shape first")
    base = base or common_base(parents) or (None if yes else _ask("The model that all were trained from"))
    tasks = own_tasks(task or (None if yes else _ask_tasks()))
    if not tasks:
        raise ConfigError("a task is needed, which the child is chosen by: give --task NAME=FILE (docs/tasks.md)")
    if protect is None and not yes:
        protect = _ask("Languages or domains that must not get worse, such as ko,code")
    protected = tuple(part.strip() for part in (protect or "").split(",") if part.strip())
    wish = Wish(parents, tasks, base, protected, name or "child")
    path = out or Path(f"{wish.name}.yaml")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} is there already: choose another --out or --name, or pass --overwrite")
    draft = draft_config(wish, lambda config: pipeline.plan(config, Path("reports"), offline=offline))
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(draft.text, encoding="utf-8")
    if as_json:
        print_json({"config": str(path), "text": draft.text, "plan": draft.plan.model_dump(mode="json", by_alias=True)})
    else:
        sys.stdout.write(draft.text + "\n")
        print_plan_summary(stdout, draft.plan)
    follows = (
        f"darwin-mri breed --config {path}"
        if draft.plan.fits
        else f"see why not above; all that the parents allow: darwin-mri plan --config {path}"
    )
    note(f"written to {path}; next: {follows}", quiet=as_json)
    if not draft.plan.fits:
        raise typer.Exit(3)


def _ask(question: str) -> str | None:
    """An answer, or None where it is empty."""
    answer = typer.prompt(f"{question} (empty: none)", default="", show_default=False, err=True)
    return str(answer).strip() or None


def _ask_parents() -> list[str]:
    """At least two models."""
    parents: list[str] = []
    while True:
        what = "The model whose shape and tokenizer the child keeps" if not parents else "Another parent"
        empty = "" if len(parents) < LEAST else " (empty: no more)"
        answer = str(typer.prompt(f"{what}{empty}", default="", show_default=False, err=True)).strip()
        if answer:
            parents.append(answer)
        elif len(parents) >= LEAST:
            return parents


def _ask_tasks() -> list[str]:
    """Words as ``--task`` takes them."""
    words: list[str] = []
    while path := _ask("A file of questions, or of text, that the child should do well on" if not words else "Another"):
        words.append(path if "=" in path else f"{_name_of(path)}={path}")
    return words


def _name_of(path: str) -> str:
    kept = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in Path(path).stem)
    return kept.strip("_").lower() or "task"
