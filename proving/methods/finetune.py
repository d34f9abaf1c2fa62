"""What a user would do instead: AdamW on the father, on the same text, in the same time."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from darwin_mri import seeds
from darwin_mri.benchmarks.items import continuation
from proving.methods.bench import Bench
from proving.text_rows import IGNORED, rows_of

BATCH = 16


def answered_items(bench: Bench) -> list[str]:
    """The search items, each with its answer."""
    return [item.context + continuation(item.choices[item.gold]) for item in bench.parts.search]


def finetune(
    bench: Bench, texts: Sequence[str], rates: Sequence[float], seconds: float = math.inf, steps: int | None = None
) -> dict[str, Any]:
    """Train every parameter on texts, and leave the best of the rates in the father.

    Args:
        bench: the father has its own weights; ``bench.restore`` gives them back.
        texts: that are read.
        rates: learning rates, each of which starts from the father.
        seconds: for each.
        steps: for each; as many as the seconds allow when None.

    Returns:
        The rate with the best smooth fitness on the fresh items, the steps of each, and items of a step.
    """
    model = bench.father.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained, fitness, made = [], [], []
    try:
        for rate in rates:
            made.append(_train(bench, texts, rate, seconds, steps))
            fitness.append(bench.smooth("fresh"))
            trained.append({name: p.detach().clone() for name, p in model.named_parameters()})
            _write(model, before)
    finally:
        _write(model, before)
    best = max(range(len(rates)), key=fitness.__getitem__)
    _write(model, trained[best])
    bench.undo_with(lambda: _write(model, before))
    return {"rate": rates[best], "fresh": fitness, "steps": made, "batch": BATCH}


def _train(bench: Bench, texts: Sequence[str], rate: float, seconds: float, limit: int | None) -> int:
    """Steps that were made."""
    model, tokenizer = bench.father.model, bench.father.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    rng = seeds.named(bench.siblings.seed, "finetune")
    began, steps = time.process_time(), 0
    with torch.enable_grad():
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        while not steps or (time.process_time() - began < seconds and steps != limit):
            chosen = rng.choice(len(texts), min(BATCH, len(texts)), replace=False)
            ids, targets = rows_of([texts[int(number)] for number in chosen], tokenizer)
            logits = model(input_ids=ids, use_cache=False).logits  # (rows, tokens, vocabulary)
            cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
        for parameter in model.parameters():
            parameter.requires_grad_(False)
    return steps


@torch.no_grad()
def _write(model: Any, tensors: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(tensors[name])
