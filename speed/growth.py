"""How cost grows: scan, candidate and child against layers, hidden size and probe tokens: ``python -m speed.growth --out FOLDER``.

Gemma 4 of small shapes, one of the three varied at a time. CPU seconds of one thread, the least of six turns for a candidate, since a busy machine only
ever adds. Writes growth.json and growth.svg.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints import find_model
from darwin_mri.config import make_config
from darwin_mri.merging import Candidate
from darwin_mri.mri.activations import measure_activations
from darwin_mri.mri.importance import ablation_nll
from darwin_mri.probes import load_probes, read, select_probes
from darwin_mri.records import Genome
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.parents import load
from darwin_mri.stages.run import Silent
from darwin_mri.stages.writing import write_genome
from speed.plot import Line, draw
from speed.shapes import write_parent

BASE = {"layers": 12, "hidden": 256, "tokens": 500}
VARIED = {"layers": (6, 12, 24), "hidden": (128, 256, 512), "tokens": (250, 500, 1000)}
TURNS = 1
COSTS = ("scan", "candidate", "child")


def main() -> None:
    """Measure every point once, print, and write the figures and the plot."""
    parser = argparse.ArgumentParser(prog="python -m speed.growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder")
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    points: dict[tuple[int, int, int], dict[str, float]] = {}
    lines = []
    for varied, values in VARIED.items():
        measured = []
        for value in values:
            at = {**BASE, varied: value}
            key = (at["layers"], at["hidden"], at["tokens"])
            points.setdefault(key, {}) or points[key].update(measure(*key))
            measured.append(points[key])
            print(varied, value, {cost: round(points[key][cost], 4) for cost in COSTS}, flush=True)
        lines += [Line(varied, cost, tuple(values), tuple(point[cost] for point in measured)) for cost in COSTS]
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"varied": line.panel, "cost": line.name, "at": line.x, "cpu_seconds": line.y} for line in lines]
    (out / "growth.json").write_text(json.dumps({"base": BASE, "lines": rows}, indent=1) + "\n", encoding="utf-8")
    (out / "growth.svg").write_text(draw(lines), encoding="utf-8")


def measure(layers: int, hidden: int, tokens: int) -> dict[str, float]:
    """CPU seconds of a scan's forwards (one pass with statistics, one ablation per FFN), of a whole candidate, and of a child on disk."""
    changes: dict[str, Any] = {
        "num_hidden_layers": layers, "num_kv_shared_layers": layers // 2 if layers > 6 else 0, "hidden_size": hidden,
        "intermediate_size": 4 * hidden, "head_dim": hidden // 4, "global_head_dim": hidden // 2,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as root:
        folders = [
            write_parent(Path(root) / role, "father", small=True, seed=n, changes=changes)
            for n, role in enumerate("fm")
        ]
        sources = [find_model(str(folder)) for folder in folders]
        father = load(sources[0], "", device="cpu", dtype="float32")
        probes = select_probes(load_probes(), ("ko", "en"), 100, 1)
        each = 64
        reading = read(probes[: max(1, tokens // each)], father.tokenizer, max_tokens=each, device="cpu")

        def scan() -> None:
            activations = measure_activations(father.model, father.anatomy, reading)
            ablation_nll(father.model, father.anatomy, activations, "f")

        config = make_config({"father": "f", "mother": "m", "method": "linear"}, "growth")
        breed = breed_siblings(config, father, sources[1], None)
        candidate, turn = Candidate(father.model, breed.tensors(), breed.merge), iter(range(1, 1000))

        def apply() -> None:
            candidate.apply(dict.fromkeys(breed.tensors(), 0.1 + 0.001 * next(turn)))

        genome = Genome(
            space="layers", method="linear", seed=1, father="f", mother="m", genes=dict.fromkeys(breed.tensors(), 0.3), ratios=()
        )  # fmt: skip

        def child() -> None:
            write_genome(genome, breed.merge, breed.tensors(), sources[0], Path(root) / "child", (), Silent())

        apply()  # keeps what does not depend on the ratio
        return {"scan": _least(scan), "candidate": _least(apply, 6), "child": _least(child)}


def _least(call: Callable[[], Any], turns: int = TURNS) -> float:
    times = []
    for _ in range(turns):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
