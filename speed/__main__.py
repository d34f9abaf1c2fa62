"""Speed side by side with the alternatives: scan, candidate, search and scoring on the nursery, merging against mergekit, and what a GPU does where there is one. Ratios, never timed tests."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from darwin_mri.checkpoints import find_model
from darwin_mri.config import Config
from darwin_mri.merging import Candidate
from darwin_mri.mri.activations import measure_activations
from darwin_mri.probes import document_nll, load_probes, read, select_probes
from darwin_mri.stages.merging import breed_siblings
from darwin_mri.stages.parents import Loaded, load
from speed.breeding import breed_row
from speed.device import device_rows
from speed.measure import pairs, row
from speed.merging import merging_rows
from speed.scoring import scoring_rows
from speed.searching import search_rows


def scan_row(father: Loaded) -> dict[str, Any]:
    """Channels 1, 3, 4 (representational, neuronal) against a plain forward with the loss over the same tokens."""
    probes = select_probes(load_probes(), ("ko", "en"), 8, 1)
    reading = read(probes, father.tokenizer, max_tokens=96, device="cpu")

    @torch.inference_mode()
    def plain() -> None:
        for batch in reading.batches:
            document_nll(father.model, batch)

    ours, theirs = pairs(lambda: measure_activations(father.model, father.anatomy, reading), plain)
    return row(
        "scan, one pass",
        "plain forward and loss, same tokens",
        ours / theirs,
        1.3,
        lower=True,
        detail=f"{ours:.2f} s / {theirs:.2f} s, {reading.tokens} tokens",
    )


def candidate_row(father: Loaded) -> dict[str, Any]:
    """Applying a whole candidate against copying the same parameter bytes."""
    config = Config(father="f", mother="m", base="b")
    sources = [find_model(f"nursery:gemma4-{name}") for name in ("reasoning", "base")]
    breed = breed_siblings(config, father, sources[0], sources[1])
    candidate = Candidate(father.model, breed.tensors(), breed.merge)
    names = list(breed.tensors())
    turn = iter(range(1_000_000))
    parameters = [p.detach() for _, p in father.model.named_parameters()]
    copies = [p.clone() for p in parameters]

    def copy() -> None:
        for target, source in zip(copies, parameters, strict=True):
            target.copy_(source)

    ours, theirs = pairs(lambda: candidate.apply(dict.fromkeys(names, 0.1 + 0.01 * (next(turn) % 7))), copy)
    candidate.restore()
    return row(
        "applying a candidate",
        "memory copy of the same bytes",
        theirs / ours,
        0.7,
        lower=False,
        detail=f"{1e3 * ours:.1f} ms / {1e3 * theirs:.1f} ms",
    )


def main() -> None:
    """Print the table to stderr and write the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m speed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument(
        "--only", help="rows to measure, comma-separated: scan,candidate,merging,breed,search,scoring,device"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    torch.set_num_threads(1)  # both sides of a ratio: it should not say how well either divides its work
    father = load(find_model("nursery:gemma4-korean"), "", device="cpu", dtype="float32")
    groups: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        "scan": lambda: [scan_row(father)], "candidate": lambda: [candidate_row(father)], "merging": merging_rows,
        "breed": lambda: [breed_row()], "search": search_rows, "scoring": scoring_rows, "device": device_rows,
    }  # fmt: skip
    only = arguments.only.split(",") if arguments.only else list(groups)
    if unknown := set(only) - set(groups):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
    rows: list[dict[str, Any]] = []
    for name in only:
        measured = groups[name]
        for r in measured():
            rows.append(r)
            mark = "met" if r["met"] else "missed"
            print(
                f"{r['name']:<26} {r['ratio']:>7.2f}  goal {r['goal']:<5} {mark:<7} against {r['against']}; {r['detail']}",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        out.parent.mkdir(parents=True, exist_ok=True)  # after each group, so that a run cut short keeps what it has
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


main()
