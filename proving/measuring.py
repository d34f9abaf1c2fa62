"""What a specialist knows more than its base, and what it costs on the base's own text."""

from __future__ import annotations

from typing import Any

import numpy as np

from darwin_mri.benchmarks import Scorer, open_grader, sample_items
from darwin_mri.checkpoints import LoadedModel, find_model, load
from darwin_mri.probes import Probe, document_nll, load_probes, select_probes, tokenize_probes
from proving.bases import fetch_base
from proving.recipes import Recipe
from proving.subjects import SUBJECTS

SEED = 1
OF_OTHERS = 40  # items of each other subject
DOCUMENTS = 8  # of each domain of the base's text
TOKENS = 128


def measure_specialist(recipe: Recipe, model: str) -> dict[str, Any]:
    """Figures of a specialist beside those of its base.

    Args:
        recipe: whose subject it learned.
        model: the specialist, as darwin_mri takes models.

    Returns:
        ``own``: share of its subject's items answered right, in wordings that training never shows; ``others``: of the
        other subjects' items; ``nll``: nats per byte of packaged English probes. Each for the specialist and the base.
    """
    own = SUBJECTS[recipe.subject].items()
    others = [
        item
        for subject in SUBJECTS.values()
        if subject.name != recipe.subject
        for item in sample_items(subject.items(), OF_OTHERS, SEED)
    ]
    probes = select_probes(load_probes(), ("en",), DOCUMENTS, SEED)
    figures: dict[str, Any] = {"items": len(own)}
    for name, ref in (("specialist", model), ("base", str(fetch_base(recipe.base)))):
        loaded = load(find_model(ref, offline=True), "", device="cpu", dtype="float32")
        figures[name] = {
            "own": accuracy(loaded, own),
            "others": accuracy(loaded, others),
            "nll": nll_per_byte(loaded, probes),
        }
    return figures


def accuracy(model: LoadedModel, items: Any) -> float:
    """Share of items that a model answers right; a tie counts as its share."""
    grades = open_grader(items, Scorer(model.model, model.tokenizer)).grades(range(len(items)))
    return round(float(np.mean([grade.answer.credit for _, grade in grades])), 4)


def nll_per_byte(model: LoadedModel, probes: tuple[Probe, ...]) -> float:
    """Nats per UTF-8 byte."""
    tokenized = tokenize_probes(probes, model.tokenizer, max_tokens=TOKENS, device="cpu")
    total = sum(float(document_nll(model.model, batch).double().sum()) for batch in tokenized.batches)
    return round(total / float(tokenized.bytes_read.sum()), 4)
