"""The command darwin-mri: parses, calls the pipeline, prints. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from darwin_mri import __version__
from darwin_mri.cli.arena import arena
from darwin_mri.cli.bench import bench
from darwin_mri.cli.breed import breed
from darwin_mri.cli.check import check
from darwin_mri.cli.console import accept_all_text, err
from darwin_mri.cli.init import init
from darwin_mri.cli.merge import merge
from darwin_mri.cli.nursery import app as nursery
from darwin_mri.cli.options import DEBUG
from darwin_mri.cli.plan import plan
from darwin_mri.cli.report import report
from darwin_mri.cli.scan import scan
from darwin_mri.cli.threads import set_threads
from darwin_mri.cli.watch import watch
from darwin_mri.errors import DarwinError
from darwin_mri.files import describe_os_error

app = typer.Typer(
    name="darwin-mri",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Look into two language models before merging them; breed a child from what was seen; show what was gained.",
)
for command in (init, scan, breed, watch, merge, plan, bench, report, check, arena):
    app.command()(command)
app.add_typer(nursery, name="nursery")


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


def main() -> None:
    """Entry point: exit codes 0 done, 1 failed, 2 usage, 3 a gate failed, 130 interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    set_threads()
    accept_all_text()
    try:
        code = app(standalone_mode=False, prog_name="darwin-mri")
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except TyperException as error:  # wrong usage: an unknown option, a missing argument
        usage: Any = error  # its type does not declare show, all of its children have it
        usage.show()
        sys.exit(usage.exit_code)
    except (DarwinError, OSError) as error:
        if DEBUG in sys.argv:
            raise
        sys.exit(_say(error))
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted", markup=False)
        sys.exit(130)


def _say(error: DarwinError | OSError) -> int:
    """Print an error in one line; the value is the exit code."""
    if isinstance(error, OSError):
        _give_up_output()
    if isinstance(error, BrokenPipeError):  # whoever read the output has had enough
        return 1
    text = str(error) if isinstance(error, DarwinError) else describe_os_error(error)
    err.print(f"darwin-mri: {' '.join(text.split())}", markup=False, highlight=False, soft_wrap=True)
    return error.exit_code if isinstance(error, DarwinError) else 1


def _give_up_output() -> None:
    """Where stdout takes nothing more, what is left in its buffer goes nowhere: Python flushes it at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
