"""Gain and loss of the arm competence as the father's FFN gets wider or narrower.

``python -m experiments.ffn_widths --out DIR``. Wider fathers are made without training: new neurons are added to the
nursery's 1,536 that read at random (gate and up rows drawn at the size of the old ones) and write nothing (down columns
of zero). So the father answers as before, and the closed form has more neurons to work with. The narrow one keeps the
neurons that write most, |a| times the norm of the down column in the mean over the built-in probes, and is a weaker
father. Run by hand, not by pytest: minutes for each width.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from darwin_mri.arena.runner import run_arena
from darwin_mri.arena.settings import ArenaConfig
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.probes import capture, final_states, load_probes, tokenize_probes
from darwin_mri.records import ArenaCell

FATHER, MOTHER = "nursery:gemma4-korean", "nursery:qwen35-mother"
ARM = {"target": "nearest", "trust": "agreement", "new_tokens": 3, "documents": 6, "held_rows": 1.0}
CELLS = {"father": "parents/father.json", "child": "competence/child.json"}


@torch.no_grad()
def write_reshaped_father(width: int, folder: Path) -> Path:
    """Save the father with FFNs of ``width`` neurons in ``folder``, and return the folder."""
    father = load(find_model(FATHER, offline=True), device="cpu", dtype="float32")
    model = father.model
    kept = strongest_neurons(father, width)
    for index, layer in enumerate(model.model.layers):
        generator = torch.Generator().manual_seed(index)
        for name in ("gate_proj", "up_proj"):
            matrix = getattr(layer.mlp, name)
            old = matrix.weight[kept[index]]  # (kept neurons, hidden)
            new = torch.randn(width - len(old), old.shape[1], generator=generator) * matrix.weight.std()
            matrix.weight = torch.nn.Parameter(torch.cat([old, new]))
        down = layer.mlp.down_proj.weight[:, kept[index]]  # (hidden, kept neurons)
        empty = torch.zeros(down.shape[0], width - down.shape[1])
        layer.mlp.down_proj.weight = torch.nn.Parameter(torch.cat([down, empty], dim=1))
    model.config.intermediate_size = width
    model.to(torch.bfloat16).save_pretrained(folder)
    father.tokenizer.save_pretrained(folder)
    return folder


@torch.inference_mode()
def strongest_neurons(parent: LoadedModel, width: int) -> list[torch.Tensor]:
    """Per layer the indices of the at most ``width`` neurons that write most, in their order."""
    downs = [layer.mlp.down_proj for layer in parent.model.model.layers]
    sums = [torch.zeros(down.in_features) for down in downs]
    for batch in tokenize_probes(load_probes(None), parent.tokenizer, max_tokens=96, device="cpu").batches:
        with capture(parent, dict.fromkeys(range(len(sums)), ("a",))) as seen:
            final_states(parent.model, batch)
        for index, total in enumerate(sums):
            total += seen[index, "a"][batch.text].abs().sum(0)
    norms = [down.weight.norm(dim=0) for down in downs]
    return [(s * n).topk(min(width, len(s))).indices.sort().values for s, n in zip(sums, norms, strict=True)]


def main() -> None:
    """Make a father of each width, run the arm on it, and print a row."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.ffn_widths", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--widths", default="512,1536,2048,4096,8192")
    parser.add_argument("--seeds", default="1")
    options = parser.parse_args()
    print("held-out accuracy, father to child")
    print("neurons  Korean           stories          science          composite        CPU seconds")
    for width in map(int, options.widths.split(",")):
        father, out = write_reshaped_father(width, options.out / f"father-{width}"), options.out / f"arena-{width}"
        config = ArenaConfig.model_validate(
            {
                "name": f"width-{width}",
                "father": str(father),
                "mother": MOTHER,
                "ratios": [1.0],
                "search_items": 80,
                "seeds": [int(seed) for seed in options.seeds.split(",")],
                "nulls": ["father-writes"],
                "arms": {"competence": {"method": "competence", "arm": ARM}},
            }
        )
        run_arena(config, out, offline=True)
        print(f"{width:<9}{format_row(config, out)}", flush=True)


def format_row(config: ArenaConfig, folder: Path) -> str:
    """Accuracy of father and child on every task and in the mean, and the seconds that the donors took."""
    scores: dict[str, list[float]] = {"father": [], "child": []}
    seconds = 0.0
    for role, path in CELLS.items():
        cells = [ArenaCell.load(folder / "cells" / f"seed-{seed}" / path) for seed in config.seeds]
        seconds = sum(cell.seconds for cell in cells) / len(cells)
        for task in config.tasks:
            credits = [answer.credit for cell in cells for answer in cell.answers[task]]
            scores[role].append(sum(credits) / len(credits))
        scores[role].append(sum(scores[role]) / len(config.tasks))
    pairs = zip(scores["father"], scores["child"], strict=True)
    return "".join(f"{f'{father:.3f} to {child:.3f}':<17}" for father, child in pairs) + f"{seconds:.0f}"


if __name__ == "__main__":
    main()
