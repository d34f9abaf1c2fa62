"""Processes of their own for the command, without the seconds that imports take: a server that forks for each order.

    python -m tests.reliability.server

Each line of stdin is an order: ``{"words": [...], ...}`` starts the command and answers its process id, ``{"wait":
pid}`` answers its exit status, negative where a signal ended it, and ``{"kill": pid}`` ends it, or sends a signal.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import json
import os
import pty
import pwd
import signal
import struct
import subprocess
import sys
import termios
import traceback
from contextlib import suppress
from typing import Any, NoReturn

MODELS = "transformers.models"
# What commands import when they first need it.
NEEDED = (
    "darwin_mri.cli", "darwin_mri.pipeline", "darwin_mri.report", "transformers", "cma", "scipy.stats", "rich.live",
    f"{MODELS}.llama.modeling_llama", f"{MODELS}.qwen3_5.modeling_qwen3_5", "pymoo.algorithms.moo.nsga2",
)  # fmt: skip
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, PR_CAPBSET_DROP = 1, 2, 24


def obey_permissions() -> None:
    """Let permissions of files hold in the program that is started next, for the super-user as for anybody."""
    if os.geteuid() == 0:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


class Server:
    """Starts commands in processes of their own, each in a session of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.server"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=obey_permissions, start_new_session=True,
        )  # fmt: skip

    def ask(self, **order: Any) -> int:
        """The answer to an order."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def replace(number: int, handle: int) -> None:
    """Let one of the standard streams be another file."""
    os.dup2(handle, number)
    os.close(handle)


def show_on_terminal(columns: int) -> None:
    """Go on in a child whose output is a terminal; this process copies it to its own stdout, and ends as the child."""
    pid, master = pty.fork()
    if not pid:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        return
    with suppress(OSError):  # the terminal is gone
        while piece := os.read(master, 4096):
            os.write(1, piece)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)


def leave_home() -> None:
    """Be a user of whom the system knows no home, as in a container with a user id of its own."""
    for name in ("HOME", "DARWIN_MRI_CACHE", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)

    def unknown(_: int) -> NoReturn:
        raise KeyError("no such user")

    pwd.getpwuid = unknown


def obey(order: dict[str, Any]) -> None:
    """Run the command of an order in this process, which then ends."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background of a script
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for number, name in ((0, os.devnull), (1, order["stdout"]), (2, order["stderr"])):
        replace(number, os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY, 0o644))
    if order.get("columns"):
        show_on_terminal(order["columns"])
    if order.get("closed"):
        reading, writing = os.pipe()
        os.close(reading)
        replace(1, writing)
    os.chdir(order["cwd"])
    os.environ |= order.get("env", {})
    if order.get("homeless"):
        leave_home()
    encoding = order.get("encoding", "utf-8")
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, "w" if number else "r", encoding=encoding) for number in range(3)
    )
    from darwin_mri import cli
    from tests.reliability import strikes

    watch = strikes.install(order)
    sys.argv = ["darwin-mri", *order["words"]]
    status = 1
    try:
        cli.main()
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        strikes.report(watch, order["stdout"] + ".counts")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def serve() -> None:
    """Obey orders until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    for name in NEEDED:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        elif "kill" in order:  # one that has ended is still there to be waited for, so the number is nobody else's
            assert order["kill"] > 0, order
            os.kill(order["kill"], order.get("signal", signal.SIGKILL))
            answer = 0
        else:
            answer = os.fork()
            if not answer:
                obey(order)
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    serve()
