"""The scorer's ways to read a batch side by side, and against the arithmetic that cannot be saved.

    python -m speed.reading --out FILE [--model MODEL] [--items N]        ``python -m speed --only reading`` does it too

The floor is what the matrix products of the distinct tokens and of the output head take at the rate that the machine
was measured to have, on one square product. Seconds of a CPU are those of its one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks import ChoiceItem, Item, Scorer, load_benchmark, sample_items
from darwin_mri.benchmarks.batching import lay_out
from darwin_mri.benchmarks.trees import pack
from darwin_mri.benchmarks.ways import TREES, Way
from darwin_mri.checkpoints import find_model, load_model, load_tokenizer
from darwin_mri.checkpoints.anatomy import decoder_of
from speed.measure import make_row
from speed.scoring import data_folder

ROUNDS = 2
GOAL = 1.0  # whatever is chosen must not be slower than the cache that branches
QUESTIONS = (
    "Who was there?",
    "What did they find first, before anybody else came?",
    "Who has a reason to lie, and why?",
)


def reading_row(
    title: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, items: Sequence[Item], rate: float
) -> dict[str, Any]:
    """The chosen way against the cache that branches, with the times of every way and their share of the floor.

    Args:
        title: of the items and the model.
        model: that is asked.
        tokenizer: the model's.
        items: with choices.
        rate: FLOP/s of a matrix product, in the model's dtype on its device.

    Returns:
        The row.
    """
    choice_items = [item for item in items if isinstance(item, ChoiceItem)]
    ways: tuple[Way, ...] = ("branch", *TREES)
    scorers: dict[Way, Scorer] = {way: Scorer(model, tokenizer, beyond_context=True, way=way) for way in ways}
    free = Scorer(model, tokenizer, beyond_context=True)
    prepared = free.prepare(choice_items)
    for scorer in (free, *scorers.values()):
        scorer.log_probabilities(prepared, [0])  # warm, and finds out which ways the model allows
    chosen = free.way(prepared)
    seconds: dict[Way, list[float]] = {}
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter  # other work may share the cores
    for _ in range(ROUNDS):
        for way, scorer in scorers.items():
            began = clock()
            scorer.log_probabilities(prepared)  # the sums wait for a device
            seconds.setdefault(way, []).append(clock() - began)
    best: dict[Way, float] = {way: min(times) for way, times in seconds.items()}
    floor = distinct_flops(free, prepared) / rate
    each = ", ".join(f"{way} {best[way]:.2f} s ({floor / best[way]:.0%} of the rate)" for way in ways)
    return make_row(
        f"reading {title}",
        "a cache that branches",
        best["branch"] / best[chosen],
        GOAL,
        lower=False,
        detail=f"takes {chosen}; {each}; {rate / 1e9:.0f} GFLOP/s",
    )


def distinct_flops(scorer: Scorer, prepared: Any) -> float:
    """2 FLOP per weight of a matrix for each distinct token, and the head's for each that predicts a choice's token."""
    decoder = decoder_of(scorer.model)
    weights = scorer.reader.costs.pairs_per_token * 2 * decoder.config.num_hidden_layers * decoder.config.hidden_size
    output: Any = scorer.model.get_output_embeddings()
    total, head = 0.0, output.weight.numel()
    for index in range(len(prepared)):
        trees = pack(lay_out(prepared, [index]), 1e12)
        total += 2 * (weights * int((trees.starts < 2**30).sum()) + head * trees.nodes.shape[1])
    return total


def cpu_rate(side: int = 1024) -> float:
    """FLOP/s of an fp32 product of two square matrices of random values, the best of some."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    times = []
    for _ in range(12):
        began = time.process_time()
        torch.mm(a, b)
        times.append(time.process_time() - began)
    return 2 * side**3 / min(times)


def story_items(items: Sequence[Item]) -> list[ChoiceItem]:
    """Three questions of unequal lengths about each item's story."""
    return [
        replace(item, key=f"{item.key}-{number}", context=f"{item.context}\n{question}\nAnswer:")
        for item in items
        if isinstance(item, ChoiceItem)
        for number, question in enumerate(QUESTIONS)
    ]


def cpu_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, title: str, count: int
) -> Iterator[dict[str, Any]]:
    """The rows of one model on CLIcK, MuSR and stories with several questions.

    Args:
        model: that is asked.
        tokenizer: the model's.
        title: of the model.
        count: items of CLIcK; of MuSR an eighth.

    Yields:
        The rows.
    """
    data, rate = data_folder(), cpu_rate()
    click = sample_items(load_benchmark("click" if data else "nursery_click", data), count, 1)
    stories = load_benchmark("musr_murder_mysteries" if data else "nursery_musr", data)
    musr = sample_items(stories, max(1, count // 8), 1)
    sets = {"CLIcK": click, "MuSR": musr, "three questions a story": story_items(musr)}
    for name, items in sets.items():
        yield reading_row(f"{name}, {title}", model, tokenizer, items, rate)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m speed.reading", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--model", default="nursery:gemma4-base")
    parser.add_argument("--items", type=int, default=24, help="of CLIcK; an eighth as many of MuSR")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = find_model(arguments.model)
    model = load_model(source, device="cpu", dtype="float32")
    rows = []
    for row in cpu_rows(model, load_tokenizer(source), Path(arguments.model).stem.partition(".")[0], arguments.items):
        rows.append(row)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(f"{row['name']:<40} {row['ratio']:>6.2f}  {row['detail']}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
