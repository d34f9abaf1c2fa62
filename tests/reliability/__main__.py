"""Runs of every kind killed by SIGKILL at random instants of the whole run, resumed, and compared with an unbroken one.

    python -m tests.reliability --kills 20

Each broken run is killed once, at an instant drawn by seed over the length of the unbroken run, and resumed to its end:
every record, ledger line, answer and shard must have the same bytes, times apart. Prints a table; exit code 1 where
anything differs, is half-written, or outlives its run. It takes about twice as many whole runs as kills.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.reliability.runs import CROSSING, FEW, Place, contents, differences, faults_of, make_family
from tests.reliability.server import Server

PLAIN: dict[str, Any] = {"repair": None, "scan": {"documents": 2, "max_tokens": 12}}
BOTH = ("nursery_click", "nursery_musr")
LONGER = {"budget": 6, "population": 3}
KINDS: dict[str, dict[str, Any]] = {
    "siblings": {**PLAIN, "search": {**FEW["search"], **LONGER}},
    "crossing": {**CROSSING, "search": {**FEW["search"], **LONGER}},
    "several parents": {**PLAIN, "parents": ("father", "sister", "brother"), "search": {**FEW["search"], **LONGER}},
    "several objectives": {**PLAIN, "tasks": BOTH, "search": {**FEW["search"], **LONGER, "strategy": "nsga2"}},
    "Ray, two actors": {
        **PLAIN,
        "search": {**FEW["search"], **LONGER, "workers": "ray", "actors": 2, "asynchronous": False},
    },
}
FORCED = ("--force", "--offline", "--quiet")
# Seconds in which the helpers of a killed run must end. Ray's agents notice the death after 10 s, and then wait 60 s
# for an answer of the server that died with it.
PATIENCE = 90.0


def left_over(token: str) -> list[int]:
    """Processes that still run of those that have a token in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and token.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def name_of(pid: int) -> str:
    """What a process is called."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    except OSError:
        return f"process {pid}, since ended,"


def kill_and_resume(
    place: Place, config: Path, name: str, after: float, whole: dict[str, Any]
) -> tuple[str, list[str]]:
    """Kill one run and resume it.

    Args:
        place: where it runs.
        config: of the run.
        name: of its folder.
        after: seconds from its start to the kill.
        whole: the unbroken run.

    Returns:
        (where it was, empty where it had ended before; what is wrong).
    """
    run, token = place.root / name / "run", f"RELIABILITY_TOKEN={name}-{os.getpid()}"
    key, value = token.split("=")
    pid, said = place.start("breed", "--config", config, "--out", run, *FORCED, env={key: value})
    time.sleep(after)
    place.server.ask(kill=pid)
    ended = place.end(pid, said)
    end = time.monotonic() + PATIENCE
    while (left := left_over(token)) and time.monotonic() < end:
        time.sleep(0.2)
    if ended.code != -signal.SIGKILL:  # it was faster than the unbroken run
        return "", [f"ended by itself with {ended.code}: {ended.err[-300:]}"] if ended.code else []
    wrong = [f"{name_of(pid)} outlived it" for pid in left]
    manifest = run / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {"seconds": {}}
    stage = f"after {list(known['seconds'])[-1]}" if known["seconds"] else "at first"
    words = ("--resume", run) if manifest.is_file() else ("--config", config, "--out", run)
    again = place.call("breed", *words, *FORCED)
    if again.code:
        return stage, [*wrong, f"resume ended with {again.code}: {again.err[-300:]}"]
    return stage, [*wrong, *differences(run, whole), *faults_of(run)]


def measure(place: Place, kind: str, kills: int, seed: int) -> bool:
    """One row of the table; the value says whether all is well."""
    name = kind.split()[0].rstrip(",") + kind.split()[-1]
    config = place.configure(name, **KINDS[kind])
    lengths, rng = [], random.Random(f"{seed} {kind}")
    unbroken = [place.root / f"{name}-{which}" / "run" for which in ("whole", "again")]
    for run in unbroken:  # the second one is as fast as those to come, and must be the same as the first
        began = time.monotonic()
        ended = place.call("breed", "--config", config, "--out", run, *FORCED)
        lengths.append(time.monotonic() - began)
        if ended.code:
            raise SystemExit(f"{kind}: an unbroken run ended with {ended.code}: {ended.err[-1000:]}")
    whole, length = contents(unbroken[0]), min(lengths)
    if different := differences(unbroken[1], whole):
        raise SystemExit(f"{kind}: two unbroken runs differ: {different}")
    good, killed, tries, where = 0, 0, 0, Counter[str]()
    while killed < kills:
        tries += 1  # each in a folder of its own
        stage, wrong = kill_and_resume(place, config, f"{name}-{tries}", rng.random() * length, whole)
        if not stage:
            if wrong:
                raise SystemExit(f"{kind}: {wrong[0]}")
            continue
        killed += 1
        good += not wrong
        where[stage] += 1
        print(f"  {kind}, kill {killed}, {stage}: {'; '.join(wrong) or 'the same bytes'}", file=sys.stderr, flush=True)
    places = ", ".join(f"{stage} {number}" for stage, number in where.most_common())
    print(f"| {kind} | {killed} | {good} | {length:.1f} s | {places} |", flush=True)
    return good == killed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="all when absent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        server = Server({**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
        try:
            place = Place(Path(folder) / "p", server, make_family(Path(folder) / "made"))
            print(
                "| kind | kills | resumed to the same bytes | unbroken run | killed |\n|---|---|---|---|---|",
                flush=True,
            )
            results = [measure(place, kind, options.kills, options.seed) for kind in options.kind or KINDS]
        finally:
            server.close()
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
