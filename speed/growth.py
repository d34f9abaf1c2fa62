"""How cost grows: scan, candidate and child against layers, hidden size and probe tokens.

``python -m speed.growth --out FOLDER`` writes growth.json and growth.svg. The models are Gemma 4 of small shapes, and
one of the three sizes is varied at a time. Measured are CPU seconds of one thread; of a candidate the least of six
turns, since a busy machine only ever adds.
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

from darwin_mri.checkpoints import find_model, load
from darwin_mri.config import make_config
from darwin_mri.merging import Candidate
from darwin_mri.merging.genome_child import write_genome
from darwin_mri.mri.ablation import ablation_nll
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import load_probes, select_probes, tokenize_probes
from darwin_mri.problem.space import sibling_space
from darwin_mri.records import Genome
from darwin_mri.run import Silent
from speed.plot import Line, draw
from speed.shapes import write_parent

BASE = {"layers": 12, "hidden": 256, "tokens": 500}
VARIED = {"layers": (6, 12, 24), "hidden": (128, 256, 512), "tokens": (250, 500, 1000)}
CANDIDATE_TURNS = 6
TEXT_TOKENS = 64  # tokens read of each probe text
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
        panel = []
        for value in values:
            sizes = {**BASE, varied: value}
            key = (sizes["layers"], sizes["hidden"], sizes["tokens"])
            if key not in points:
                points[key] = measure(*key)
            panel.append(points[key])
            print(varied, value, {cost: round(points[key][cost], 4) for cost in COSTS}, flush=True)
        lines += [Line(varied, cost, tuple(values), tuple(point[cost] for point in panel)) for cost in COSTS]
    out.mkdir(parents=True, exist_ok=True)
    rows = [{"varied": line.panel, "cost": line.name, "at": line.x, "cpu_seconds": line.y} for line in lines]
    (out / "growth.json").write_text(json.dumps({"base": BASE, "lines": rows}, indent=1) + "\n", encoding="utf-8")
    (out / "growth.svg").write_text(draw(lines), encoding="utf-8")


def measure(layers: int, hidden: int, tokens: int) -> dict[str, float]:
    """CPU seconds at one point.

    Args:
        layers: of both parents.
        hidden: width of their residual streams.
        tokens: probe tokens that are read, about.

    Returns:
        ``scan``: one pass with statistics and one ablation per FFN; ``candidate``: all genes changed; ``child``:
        written to disk.
    """
    changes: dict[str, Any] = {
        "num_hidden_layers": layers,
        "num_kv_shared_layers": layers // 2 if layers > 6 else 0,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "head_dim": hidden // 4,
        "global_head_dim": hidden // 2,
    }
    with tempfile.TemporaryDirectory(prefix="darwin-mri-speed-") as root:
        folders = [
            write_parent(Path(root) / role, "father", small=True, seed=seed, changes=changes)
            for seed, role in enumerate(("father", "mother"))
        ]
        father_source, mother_source = (find_model(str(folder)) for folder in folders)
        father = load(father_source, device="cpu", dtype="float32")
        probes = select_probes(load_probes(), ("ko", "en"), 100, 1)[: max(1, tokens // TEXT_TOKENS)]
        tokenized = tokenize_probes(probes, father.tokenizer, max_tokens=TEXT_TOKENS, device="cpu")

        def scan() -> None:
            activations = measure_activations(father, tokenized)
            ablation_nll(father, activations, "f")

        config = make_config({"father": "f", "mother": "m", "method": "linear"}, "growth")
        space = sibling_space(config, father, (mother_source,), None)
        tensors = space.tensors()
        candidate, turn = Candidate(father.model, tensors, space.merge), iter(range(1, 1000))

        def apply() -> None:
            candidate.apply(dict.fromkeys(tensors, 0.1 + 0.001 * next(turn)))

        genome = Genome(
            space="layers",
            method="linear",
            seed=1,
            father="f",
            mother="m",
            genes=dict.fromkeys(tensors, 0.3),
            ratios=(),
        )

        def child() -> None:
            write_genome(genome, space.merge, tensors, father_source.folder, Path(root) / "child", (), Silent())

        apply()  # keeps what does not depend on the ratio
        return {
            "scan": least_cpu_seconds(scan),
            "candidate": least_cpu_seconds(apply, CANDIDATE_TURNS),
            "child": least_cpu_seconds(child),
        }


def least_cpu_seconds(call: Callable[[], Any], turns: int = 1) -> float:
    """The least of the CPU seconds of several turns of a call."""
    times = []
    for _ in range(turns):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


if __name__ == "__main__":
    main()
