"""Speed side by side with the alternatives: ratios, never timed tests.

Scan, candidate, search and scoring on the nursery, merging against mergekit, and a GPU's figures where there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import document_nll, load_probes, select_probes, tokenize_probes
from darwin_mri.problem.space import sibling_space
from speed.ablating import ablation_rows
from speed.asynchronous import waste_row
from speed.breeding import breed_row
from speed.busy import busy_row
from speed.device import device_rows
from speed.measure import make_row, time_pair
from speed.merging import merging_rows
from speed.reading import cpu_rows
from speed.scoring import scoring_rows
from speed.searching import search_rows
from speed.slopes import slope_rows


def scan_row(father: LoadedModel) -> dict[str, Any]:
    """Channels 1, 3, 4 (representational, neuronal) against a plain forward with the loss over the same tokens."""
    probes = select_probes(load_probes(), ("ko", "en"), 8, 1)
    tokenized = tokenize_probes(probes, father.tokenizer, max_tokens=96, device="cpu")

    @torch.inference_mode()
    def forward() -> None:
        for batch in tokenized.batches:
            document_nll(father.model, batch)

    scan_seconds, forward_seconds = time_pair(lambda: measure_activations(father, tokenized), forward)
    return make_row(
        "scan, one pass",
        "plain forward and loss, same tokens",
        scan_seconds / forward_seconds,
        1.3,
        lower=True,
        detail=f"{scan_seconds:.2f} s / {forward_seconds:.2f} s, {tokenized.tokens} tokens",
    )


def candidate_row(father: LoadedModel) -> dict[str, Any]:
    """Applying a whole candidate against copying the same parameter bytes."""
    config = Config(father="f", mother="m", base="b")
    mother, base = (find_model(f"nursery:gemma4-{name}") for name in ("reasoning", "base"))
    space = sibling_space(config, father, (mother,), base)
    candidate = Candidate(father.model, space.tensors(), space.merge)
    genes = list(space.tensors())
    turn = iter(range(1_000_000))
    parameters = [p.detach() for _, p in father.model.named_parameters()]
    copies = [p.clone() for p in parameters]

    def apply() -> None:
        candidate.apply(dict.fromkeys(genes, 0.1 + 0.01 * (next(turn) % 7)))

    def copy() -> None:
        for target, source in zip(copies, parameters, strict=True):
            target.copy_(source)

    apply_seconds, copy_seconds = time_pair(apply, copy)
    candidate.restore()
    return make_row(
        "applying a candidate",
        "memory copy of the same bytes",
        copy_seconds / apply_seconds,
        0.7,
        lower=False,
        detail=f"{1e3 * apply_seconds:.1f} ms / {1e3 * copy_seconds:.1f} ms",
    )


def main() -> None:
    """Print the table to stderr and write the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--only", help="rows to measure, comma-separated; an unknown name lists them")
    arguments = parser.parse_args()
    out: Path = arguments.out
    torch.set_num_threads(1)  # both sides of a ratio: it should not say how well either divides its work
    father = load(find_model("nursery:gemma4-korean"), device="cpu", dtype="float32")
    groups: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        "scan": lambda: [scan_row(father)],
        "ablation": ablation_rows,
        "slopes": lambda: slope_rows(father),
        "candidate": lambda: [candidate_row(father)],
        "merging": merging_rows,
        "breed": lambda: [breed_row()],
        "busy": lambda: [busy_row()],
        "search": search_rows,
        "workers": lambda: [waste_row()],
        "scoring": scoring_rows,
        "reading": lambda: cpu_rows(father.model, father.tokenizer, "nursery", 24),
        "device": device_rows,
    }
    only = arguments.only.split(",") if arguments.only else list(groups)
    if unknown := set(only) - set(groups):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    rows: list[dict[str, Any]] = []
    for name in only:
        for row in groups[name]():
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
        out.parent.mkdir(parents=True, exist_ok=True)  # after each group, so that a run cut short keeps what it has
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _line(row: dict[str, Any]) -> str:
    mark = "met" if row["met"] else "missed"
    return (
        f"{row['name']:<26} {row['ratio']:>7.2f}  goal {row['goal']:<5} {mark:<7}"
        f" against {row['against']}; {row['detail']}"
    )


if __name__ == "__main__":
    main()
