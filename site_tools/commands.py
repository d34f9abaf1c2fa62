"""Every command with its options, from the command line itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from typer.core import TyperGroup

from darwin_mri.cli import app
from site_tools.markdown import plain, table

CODES = (
    ("0", "done"),
    ("1", "failed: one line says what to do; `--debug` shows the traceback"),
    ("2", "usage"),
    ("3", "a stated gate failed"),
    ("130", "interrupted; `--resume` goes on"),
)


def commands() -> Iterator[tuple[str, Any]]:
    """Name, as typed behind ``darwin-mri``, and command; those of groups too."""
    yield from _inside("", typer.main.get_command(app))


def _inside(before: str, command: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield f"{before}{name}", inner
            yield from _inside(f"{before}{name} ", inner)


def page() -> str:
    """The reference of the command line."""
    text = "# Command line\n\nMade from the commands themselves; `darwin-mri COMMAND --help` says the same.\n"
    for name, command in commands():
        text += f"\n## darwin-mri {name} {{ #{name.replace(' ', '-')} }}\n\n{plain(command.help or '')}\n\n"
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
        if arguments:
            rows = [(f"`{_name(argument)}`", plain(argument.help or "")) for argument in arguments]
            text += table(("argument", "meaning"), rows) + "\n"
        rows = [(f"`{_name(option)}`", _explain(option), _default(option)) for option in options]
        text += table(("option", "meaning", "default"), rows)
    return text + "\n## Exit codes\n\n" + table(("code", "meaning"), CODES)


def _name(parameter: Any) -> str:
    """``--option VALUE``, or the word that stands for an argument."""
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    value = "" if parameter.is_flag else f" {parameter.metavar or _value(parameter)}"
    return ", ".join(parameter.opts) + value


def _value(option: Any) -> str:
    """TEXT, NUMBER or PATH."""
    kind = option.type_descriptor.annotation
    return "NUMBER" if kind in (int, float) else "PATH" if kind is Path else "TEXT"


def _default(option: Any) -> str:
    if option.is_flag or option.default is None:
        return ""
    return f"`{option.default}`"


def _explain(option: Any) -> str:
    edges = [("at least", option.min), ("at most", option.max)]
    limits = [f"{words} {value:g}" for words, value in edges if value is not None]
    again = ["may be given several times"] if option.multiple and "several times" not in option.help else []
    named = [f"else `{option.envvar}` of the environment"] if option.envvar else []
    return "; ".join([plain(option.help or "").removesuffix("."), *limits, *again, *named])
