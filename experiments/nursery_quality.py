"""What the nursery's models read, know and need.

``python -m experiments.nursery_quality --probes DIR/parallel_ntrex.jsonl``

Bits per byte on NTREX, against a unigram model of the same tokens: it is fitted, with one added to each count, on the
sentences that are not read. Then what mean-ablating each FFN does to that, and to the accuracy on the nursery's search
items. Run by hand, not by pytest: minutes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from darwin_mri.benchmarks import Scorer, accuracy, load_benchmark, split_items, to_answers, with_choices
from darwin_mri.checkpoints import find_model, load
from darwin_mri.mri.activations import measure_activations
from darwin_mri.nursery import list_nursery
from darwin_mri.probes import (
    Probe,
    TokenizedProbes,
    ablate,
    document_nll,
    increment_modules,
    load_probes,
    tokenize_probes,
)

LANGUAGES = ("ko", "en")
TASKS = ("nursery_click", "nursery_musr", "nursery_gpqa")
MAX_TOKENS = 512


def read_sentences(path: Path, language: str) -> list[Probe]:
    """The sentences of one language, as probes."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Probe(text=row[language], language=language, domain="prose", doc=str(row["id"])) for row in rows]


def bits_per_byte(model: Any, tokenized: TokenizedProbes) -> float:
    """The model's loss."""
    nll = sum(float(document_nll(model, batch).double().sum()) for batch in tokenized.batches)
    return nll / float(tokenized.bytes_read.sum()) / math.log(2)


def unigram_bits_per_byte(training: list[Probe], tokenized: TokenizedProbes, tokenizer: Any) -> float:
    """The loss of a unigram model.

    Args:
        training: texts it is fitted on.
        tokenized: texts it is scored on.
        tokenizer: makes tokens of the training texts.

    Returns:
        Bits per byte.
    """
    counts = Counter(token for probe in training for token in tokenizer.encode(probe.text, add_special_tokens=False))
    total = sum(counts.values()) + len(tokenizer)
    # Without a prefix token the model does not predict a text's first token, so neither does the unigram.
    predicted = [token for ids in tokenized.ids for token in (ids if tokenized.prefix else ids[1:])]
    nats = -sum(math.log((counts[token] + 1) / total) for token in predicted)
    return nats / float(tokenized.bytes_read.sum()) / math.log(2)


@torch.inference_mode()
def print_model(name: str, path: Path, held_out: int) -> None:
    """Print one model's table.

    Args:
        name: of a nursery model.
        path: the sentences.
        held_out: how many of them are read, from the file's end.
    """
    parent = load(find_model(f"nursery:{name}", offline=True), device="cpu", dtype="float32")
    model, tokenizer, texts_by_language = parent.model, parent.tokenizer, {}
    print(f"\n{name}")
    for language in LANGUAGES:
        texts = read_sentences(path, language)
        tokenized = tokenize_probes(texts[-held_out:], tokenizer, max_tokens=MAX_TOKENS, device="cpu")
        texts_by_language[language] = tokenized
        unigram = unigram_bits_per_byte(texts[:-held_out], tokenized, tokenizer)
        print(f"  {language}: {bits_per_byte(model, tokenized):.2f} bits per byte, unigram {unigram:.2f}")
    scorer = Scorer(model, tokenizer)
    items = {task: with_choices(split_items(load_benchmark(task), 1, 0.5).search) for task in TASKS}
    prepared = {task: scorer.prepare(part) for task, part in items.items()}

    def measure_row() -> list[float]:
        scores = [accuracy(to_answers(part, scorer.log_probabilities(prepared[task]))) for task, part in items.items()]
        return [bits_per_byte(model, texts_by_language[language]) for language in LANGUAGES] + scores

    probes = tokenize_probes(load_probes(None), tokenizer, max_tokens=MAX_TOKENS, device="cpu")
    means = measure_activations(parent, probes)
    print(f"  {'':8}" + "".join(f"{column:>14}" for column in (*LANGUAGES, *TASKS)))
    print(f"  {'whole':8}" + "".join(f"{value:14.3f}" for value in measure_row()))
    for info, layer in zip(parent.anatomy.layers, parent.layers, strict=True):
        modules, mean = increment_modules(layer, info, "f"), means.mean(info.index, "f")
        if not modules or mean is None:
            continue
        with ablate(modules, mean / parent.anatomy.residual_multiplier):
            print(f"  -FFN {info.index:<3}" + "".join(f"{value:14.3f}" for value in measure_row()), flush=True)


def main() -> None:
    """Print a table for every nursery model."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m experiments.nursery_quality", description=description)
    parser.add_argument("--probes", type=Path, required=True, help="NTREX as JSON lines with the keys id, ko and en")
    parser.add_argument("--held", type=int, default=200, help="sentences read, from the file's end")
    options = parser.parse_args()
    for entry in list_nursery():
        print_model(entry["name"], options.probes, options.held)


if __name__ == "__main__":
    main()
