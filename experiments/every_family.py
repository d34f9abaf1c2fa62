"""Every family of docs/families.md on the whole road: a pair is planned, scanned, merged and bred, tied and untied.

    python -m experiments.every_family [FAMILY ...]

Parents are small random checkpoints. The bred child is compared, tensor by tensor and in its logits, with the merge of
the two models as transformers loads them, each tensor at the ratio of its gene. A family whose pair ``breed`` refuses
must be refused by ``plan`` with the same words. One line of JSON per family and form; exit code 1 when one differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from darwin_mri import pipeline
from darwin_mri.checkpoints import find_model, load_model
from darwin_mri.checkpoints.survey import survey
from darwin_mri.config import Config, make_config
from darwin_mri.errors import DarwinError
from darwin_mri.records import Anatomy, Genome
from tests import toys

TOKENS = torch.arange(3, 15).reshape(2, 6)
SMALL: dict[str, Any] = {
    "method": "linear",
    "device": "cpu",
    "dtype": "bfloat16",
    "fitness": {"nursery_click": 1.0},
    "search": {"budget": 3, "population": 3, "items": 8, "finalists": 1},
    "prior": {"items": 8, "steps": 1, "protect": ["en"]},
    "scan": {"documents": 2, "max_tokens": 32, "languages": ["en", "ko"], "bootstrap": 50, "positions": 64},
    "bench": {"tasks": ["nursery_click"], "items": 8, "harness": False},
}


def forms(family: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(name of the form, changes of father and mother)."""
    for tied in (True, False):
        yield ("tied" if tied else "untied"), [{"tie_word_embeddings": tied}] * 2
    if family in WRAPPED:
        yield "wrapper and text", [{"wrapped": True}, {"wrapped": False}]
        yield "text and wrapper", [{"wrapped": False}, {"wrapped": True}]
        yield "two wrappers", [{"wrapped": True}] * 2


WRAPPED = {"gemma4_text": toys.pico_gemma4, "qwen3_5_text": toys.pico_qwen35}


def write_parent(family: str, folder: Path, seed: int, changes: dict[str, Any]) -> Path:
    """A small random checkpoint in bf16."""
    if "wrapped" in changes:
        return WRAPPED[family](folder, seed=seed, dtype="bfloat16", **changes)
    return toys.pico(family, folder, seed=seed, dtype="bfloat16", **changes)


def gene_of(name: str, anatomy: Anatomy) -> str:
    """The gene of a tensor by its name in the decoder."""
    parts = name.split(".")
    if len(parts) < 3 or not parts[1].isdigit():
        return "outside"
    return f"L{parts[1]}.{anatomy.layers[int(parts[1])].component('.'.join(parts[2:]))}"


@torch.no_grad()
def merge_in_memory(config: Config, genome: Genome) -> Any:
    """The two models as transformers loads them, the father moved by each tensor's ratio."""
    father, mother = (load_model(find_model(ref), device="cpu") for ref in (config.father, config.mother))
    anatomy = survey(find_model(config.father).folder).anatomy
    moved = []
    for part in ("get_decoder", "get_output_embeddings"):
        theirs = getattr(mother, part)().state_dict()
        for name, own in getattr(father, part)().state_dict().items():
            ratio = genome.genes[gene_of(name, anatomy) if part == "get_decoder" else "outside"]
            if own.is_floating_point():
                moved.append((own, (own.float() + ratio * (theirs[name].float() - own.float())).to(own.dtype)))
    for own, new in moved:  # afterwards: a tied head is its embedding
        own.copy_(new)
    return father


def unequal(child: Path, expected: Any) -> list[str]:
    """Tensors of a child that are not the expected ones; "logits" where those differ."""
    model = load_model(find_model(str(child)), device="cpu")
    state = model.state_dict()
    names = [name for name, tensor in expected.state_dict().items() if not torch.equal(state[name], tensor)]
    with torch.inference_mode():
        same = torch.equal(model(input_ids=TOKENS).logits, expected(input_ids=TOKENS).logits)
    return names if same else [*names, "logits"]


def follow(family: str, changes: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Plan, breed and merge one pair; what differs from the merge in memory."""
    father, mother = (write_parent(family, folder / str(n), n, own) for n, own in enumerate(changes))
    config = make_config({"father": str(father), "mother": str(mother), **SMALL}, family)
    plan = pipeline.plan(config, folder / "run", offline=True)
    try:
        result = pipeline.breed(config, folder / "run", force=True, offline=True)
    except DarwinError as error:
        return {"refused": str(error), "plan": plan.problems, "ok": not plan.fits}
    expected = merge_in_memory(config, result.genome)
    pipeline.merge(config, result.genome, folder / "again", offline=True)
    bred, merged = unequal(folder / "run" / "child", expected), unequal(folder / "again", expected)
    return {"bred": bred[:3], "merged": merged[:3], "ok": plan.fits and not bred and not merged}


def main() -> int:
    """Follow the road for the families named, or for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=list(toys.FAMILIES), metavar="FAMILY")
    ok = True
    for family in parser.parse_args().families:
        for form, changes in forms(family):
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    line = follow(family, changes, Path(folder))
                except Exception as error:  # a crash is a result here
                    line = {"crashed": f"{type(error).__name__}: {error}"[:200], "ok": False}
            line = {"family": family, "form": form, **line, "seconds": round(time.monotonic() - began, 1)}
            print(json.dumps(line), flush=True)
            ok &= bool(line["ok"])
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
