"""Processes end with the one that started them: by SIGTERM, SIGHUP and SIGKILL, in pools and in a real training."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darwin_mri.nursery.mixture import ENGLISH_FILES, KOREAN_FILES
from darwin_mri.probes import load_probes

POOL = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from darwin_mri.children import end_with_parent

if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup lets a process and all that it starts ignore it
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:
        list(pool.map(time.sleep, [0.1, 0.1]))
        print("ready", flush=True)
        list(pool.map(time.sleep, [600, 600]))
"""
PATIENCE = 60.0  # seconds, on a busy machine


def descendants(pid: int) -> set[int]:
    """Processes below a process, of Linux's own list."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            state, parent = status.rpartition(") ")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    """Those that still run."""
    running = set()
    for pid in pids:
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2][0] != "Z":
                running.add(pid)
        except OSError:
            continue
    return running


def wait_until(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's list of processes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_pool_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "ready\n"
        children = descendants(parent.pid)
        assert len(children) >= 2
        parent.send_signal(number)
        parent.wait(PATIENCE)
    wait_until(lambda: not alive(children), "a child outlived its parent")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's list of processes")
def test_training_the_nursery_leaves_no_process_behind(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = "\n".join(" ".join(probe.text.split()) for probe in load_probes() for _ in range(60))
    for name in (*KOREAN_FILES, *ENGLISH_FILES):
        with gzip.open(corpus / name, "wt", encoding="utf-8") as stream:
            stream.write(lines)
    train = ["nursery", "train", "--corpus", str(corpus), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "darwin_mri", *train]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as parent:
        wait_until(lambda: parent.poll() is not None or len(descendants(parent.pid)) >= 2, "no training began")
        children = descendants(parent.pid)
        assert children, "the command ended before it started a process"
        parent.terminate()
        parent.wait(PATIENCE)
    wait_until(lambda: not alive(children), "a training process outlived its command")
