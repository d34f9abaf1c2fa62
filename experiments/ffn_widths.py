"""Gain and loss of competence as the father's FFN gets wider or narrower: ``python -m experiments.ffn_widths --out DIR``.

Wider fathers are made without training: the nursery's 1,536 neurons and new ones that read at random (gate and up rows drawn at the old ones'
size) and write nothing (down columns of zero), so the father says what he said and the closed form finds more keys. The narrow one keeps the neurons that
write most, |a| times the norm of the down column in the mean over the built-in probes, and is a weaker father. By hand, not by pytest.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from darwin_mri.checkpoints import find_anatomy
from darwin_mri.merging.arms.context import LoadedModel, forward, capture
from darwin_mri.nursery import MODELS
from darwin_mri.probes import load_probes, tokenize_probes
from darwin_mri.records import ArenaCell
from darwin_mri.arena.runner import run_arena
from darwin_mri.arena.settings import ArenaConfig

FATHER, MOTHER = "gemma4-korean", "nursery:qwen35-mother"
ARM = {"target": "nearest", "trust": "agreement", "new_tokens": 3, "documents": 6, "held_rows": 1.0}


@torch.no_grad()
def reshape(width: int, folder: Path) -> Path:
    """The father with FFNs of ``width`` neurons, saved in ``folder``."""
    model: Any = AutoModelForCausalLM.from_pretrained(MODELS / FATHER, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(MODELS / FATHER)
    kept = _strongest(model, tokenizer, width)
    for index, layer in enumerate(model.model.layers):
        generator = torch.Generator().manual_seed(index)
        for name in ("gate_proj", "up_proj"):
            matrix = getattr(layer.mlp, name)
            old = matrix.weight[kept[index]]
            new = torch.randn(width - len(old), old.shape[1], generator=generator) * matrix.weight.std()
            matrix.weight = torch.nn.Parameter(torch.cat([old, new]))
        down = layer.mlp.down_proj.weight[:, kept[index]]
        empty = torch.zeros(down.shape[0], width - down.shape[1])
        layer.mlp.down_proj.weight = torch.nn.Parameter(torch.cat([down, empty], dim=1))
    model.config.intermediate_size = width
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.inference_mode()
def _strongest(model: Any, tokenizer: Any, width: int) -> list[torch.Tensor]:
    """Per layer the indices of the at most ``width`` neurons that write most, in their order."""
    side = LoadedModel(model, tokenizer, find_anatomy(model))
    sums = [torch.zeros(layer.mlp.down_proj.in_features) for layer in model.model.layers]
    for batch in tokenize_probes(load_probes(None), tokenizer, max_tokens=96, device="cpu").batches:
        with capture(side, dict.fromkeys(range(len(sums)), ("a",))) as seen:
            forward(side, batch)
        for index, total in enumerate(sums):
            total += seen[index, "a"][batch.text].abs().sum(0)
    norms = [layer.mlp.down_proj.weight.norm(dim=0) for layer in model.model.layers]
    return [(s * n).topk(min(width, len(s))).indices.sort().values for s, n in zip(sums, norms, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.ffn_widths", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--widths", default="512,1536,2048,4096,8192")
    parser.add_argument("--seeds", default="1")
    options = parser.parse_args()
    print(
        "held-out accuracy, father to child\nneurons  Korean           stories          science          composite        CPU seconds"
    )
    for width in map(int, options.widths.split(",")):
        father = reshape(width, options.out / f"father-{width}")
        config = ArenaConfig.model_validate(
            {
                "name": f"width-{width}", "father": str(father), "mother": MOTHER, "ratios": [1.0], "search_items": 80,
                "seeds": [int(seed) for seed in options.seeds.split(",")], "nulls": ["father-writes"],
                "arms": {"competence": {"method": "competence", "arm": ARM}},
            }
        )  # fmt: skip
        run_arena(config, options.out / f"arena-{width}", offline=True)
        print(f"{width:<9}" + _row(config, options.out / f"arena-{width}"), flush=True)


def _row(config: ArenaConfig, folder: Path) -> str:
    found: dict[str, list[float]] = {"father": [], "child": []}
    seconds = 0.0
    cells = {"father": "parents/father.json", "child": "competence/child.json"}
    for role, place in cells.items():
        made = [ArenaCell.load(folder / "cells" / f"seed-{seed}" / place) for seed in config.seeds]
        seconds = sum(cell.seconds for cell in made) / len(made)
        for task in config.tasks:
            credits = [answer.credit for cell in made for answer in cell.answers[task]]
            found[role].append(sum(credits) / len(credits))
        found[role].append(sum(found[role]) / len(config.tasks))
    pairs = zip(found["father"], found["child"], strict=True)
    return "".join(f"{f'{before:.3f} to {after:.3f}':<17}" for before, after in pairs) + f"{seconds:.0f}"


if __name__ == "__main__":
    main()
