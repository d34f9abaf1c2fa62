"""A piece of code in a process of its own: its seconds and the most memory it held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

# VmHWM and not rusage's ru_maxrss, which a new process inherits from the one that started it. It counts pages of mapped
# files too.
REPORT = """
spent = time.perf_counter() - wall, time.process_time() - cpu
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": spent[0], "cpu": spent[1], "peak": peak, **globals().get("more", {})}))
"""


def run_apart(
    code: str, *arguments: str, python: str = sys.executable, threads: int | None = 1, verbose: bool = False
) -> dict[str, Any]:
    """Run code in a process of its own.

    Args:
        code: sets ``wall`` and ``cpu`` when its clock starts; imports json and time.
        *arguments: the code's ``sys.argv[1:]``.
        python: the interpreter.
        threads: of the numerical libraries; as many as there are cores when None.
        verbose: show what the code writes to stderr while it runs; it is shown at the end, of a failure, when false.

    Returns:
        ``seconds``, ``cpu`` (seconds of the processor), ``peak`` (most resident KiB), and whatever the code leaves in
        ``more``.

    Raises:
        SystemExit: the process failed.
    """
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if threads is None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            env.pop(name, None)
    else:
        env |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if python == sys.executable:
        env["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [python, "-c", code + REPORT, *arguments]
    stderr = None if verbose else subprocess.PIPE
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr or ''}{python} failed with exit code {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])
