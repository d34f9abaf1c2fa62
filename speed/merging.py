"""Merging whole folders: darwin_mri against mergekit 0.1.5 and a copy of the bytes, with one thread and with all.

Each runs in processes of its own, in turn.

DARWIN_MRI_MERGEKIT_PYTHON names an interpreter that has mergekit. Timed is the merge from recipe to written folder,
without the imports; memory is the process's largest resident set (Linux), imports included. darwin_mri hashes every
shard and flushes it to disk, which mergekit does not; the detail says how long a further round takes without. The copy
reads one parent's shards, writes them and flushes them too. The goals are for all threads, which darwin_mri sets as its
command line does and mergekit has as torch starts them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from speed.measure import make_row
from speed.processes import run_apart

MERGEKIT = "DARWIN_MRI_MERGEKIT_PYTHON"
GOALS = {"linear": 3.0, "dare_ties": 20.0, "ties": 30.0}
COPY_GOAL = 0.5
MEMORY_GOAL = 0.5
THREADS = {"one thread": 1, "all threads": None}
ROUNDS = 2
DARWIN_MERGE = """
import json, os, sys, time
from pathlib import Path
from darwin_mri.cli.threads import set_threads
set_threads()  # as the command does before torch is loaded
import torch
import transformers.models.auto.auto_mappings  # loaded on first use, which would be while the clock runs
from darwin_mri.pipeline import merge
from darwin_mri.problem.requests import read_merge
if sys.argv[3] == "bare":
    from types import SimpleNamespace
    from darwin_mri.checkpoints import hashed_file
    os.fsync = lambda handle: None
    unhashed = SimpleNamespace(update=lambda data: None, hexdigest=lambda: "")
    hashed_file.hashlib = SimpleNamespace(sha256=lambda: unhashed)
wall, cpu = time.perf_counter(), time.process_time()
request = read_merge(None, Path(sys.argv[1]), {}, offline=True)
genome = request.genome
if genome.method == "dare_ties":  # each by its own rule of rescaling
    genome = genome.model_copy(update={"settings": {**genome.settings, "rescale": "inverse_density"}})
merge(request.config, genome, Path(sys.argv[2]), offline=True)
"""
MERGEKIT_MERGE = """
import json, sys, time
import torch, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
wall, cpu = time.perf_counter(), time.process_time()
run_merge(MergeConfiguration.model_validate(yaml.safe_load(open(sys.argv[1]))), sys.argv[2], MergeOptions(quiet=True))
"""
COPY = """
import json, sys, time
from pathlib import Path
from darwin_mri.checkpoints.atomic_folder import copy_synced
out = Path(sys.argv[2])
out.mkdir()
wall, cpu = time.perf_counter(), time.process_time()
for path in (Path(sys.argv[1]).parent / "father").glob("*.safetensors"):
    copy_synced(path, out / path.name)
"""


def merging_rows() -> list[dict[str, Any]]:
    """A row of time and one of memory per method; none, and a line on stderr, where mergekit is absent."""
    python = os.environ.get(MERGEKIT)
    if not python:
        print(
            f"merging: {MERGEKIT} names no interpreter with mergekit 0.1.5, so its rows are left out", file=sys.stderr
        )
        return []
    rows = []
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as root:
        parents = make_parents(Path(root))
        size = sum(path.stat().st_size for path in (Path(root) / "father").glob("*.safetensors"))
        for threads in THREADS:
            for method in GOALS:
                rows += _method_rows(Path(root), method, threads, parents, python, size)
    return rows


def make_parents(root: Path) -> dict[str, str]:
    """Three Gemma 4 folders of about 100 million parameters in bf16, with random weights, in shards."""
    from tests.toys import pico_gemma4

    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 6,
        "vocab_size": 16384,
        "vocab_size_per_layer_input": 16384,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "global_head_dim": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
        "initializer_range": 0.02,
    }
    return {
        role: str(pico_gemma4(root / role, seed=seed, dtype="bfloat16", max_shard_size="100MB", **sizes))
        for seed, role in enumerate(("father", "mother", "base"))
    }


def recipe(method: str, parents: dict[str, str]) -> dict[str, Any]:
    """The same recipe for both, as users of mergekit write it."""
    parameters: dict[str, Any] = {"weight": 0.5} if method == "linear" else {"weight": 1.0, "density": 0.6}
    models = [{"model": parents[role], "parameters": parameters} for role in ("father", "mother")]
    base = {} if method == "linear" else {"base_model": parents["base"]}
    return {"merge_method": method, "models": models, "dtype": "float32", "out_dtype": "bfloat16", **base}


def _method_rows(
    root: Path, method: str, threads: str, parents: dict[str, str], python: str, size: int
) -> list[dict[str, Any]]:
    path, count = root / f"{method}.yaml", THREADS[threads]
    path.write_text(yaml.safe_dump(recipe(method, parents)), encoding="utf-8")
    darwin, mergekit, copies = [], [], []
    for _ in range(ROUNDS):  # in turn, so that a drifting machine affects all alike
        darwin.append(_run(sys.executable, DARWIN_MERGE, path, root, "whole", count))
        mergekit.append(_run(python, MERGEKIT_MERGE, path, root, "whole", count))
        copies.append(_run(sys.executable, COPY, path, root, "whole", count))
    bare = _run(sys.executable, DARWIN_MERGE, path, root, "bare", count)
    seconds, other_seconds, copy_seconds = (_median(runs, "seconds") for runs in (darwin, mergekit, copies))
    peak, other_peak = (_median(runs, "peak") for runs in (darwin, mergekit))
    load = f"load {os.getloadavg()[0]:.1f}"
    detail = (
        f"{seconds:.2f} s / {other_seconds:.2f} s for {size / 1e6:.0f} MB,"
        f" CPU {_median(darwin, 'cpu'):.2f} / {_median(mergekit, 'cpu'):.2f} s;"
        f" without sha256 and fsync {bare['seconds']:.2f} s; {load}"
    )
    copied = f"{copy_seconds:.2f} s, CPU {_median(copies, 'cpu'):.2f} s / {seconds:.2f} s; {load}"
    memory = f"{peak / 1024:.0f} MB / {other_peak / 1024:.0f} MB resident at most"
    against, goal = f"mergekit 0.1.5, same folders, {threads}", GOALS[method]
    rows = [
        make_row(f"merging {method}", against, other_seconds / seconds, goal, lower=False, detail=detail),
        make_row(f"memory of {method}", against, peak / other_peak, MEMORY_GOAL, lower=True, detail=memory),
    ]
    if method == "linear":
        speed, name = copy_seconds / seconds, f"copy of the same bytes, {threads}"
        rows.append(make_row(f"merging {method}", name, speed, COPY_GOAL, lower=False, detail=copied))
    return rows


def _median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _run(python: str, code: str, path: Path, root: Path, mode: str, threads: int | None) -> dict[str, float]:
    """One merge in a process of its own: seconds, CPU seconds, peak resident KiB."""
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    return run_apart(code, str(path), str(out), mode, python=python, threads=threads)
