"""What a specialist knows more than its base, and what it costs on the base's own text."""

from __future__ import annotations

from typing import Any

from darwin_mri.benchmarks import sample_items
from darwin_mri.checkpoints import find_model, load
from darwin_mri.probes import load_probes, select_probes
from proving.bases import fetch_base
from proving.methods.bench import accuracy, nll_per_byte
from proving.recipes import RECIPES, Recipe
from proving.subjects import SUBJECTS

SEED = 1
OF_OTHERS = 40  # items of each other subject
DOCUMENTS = 8  # of each domain of the base's text
TEXTS = {"smollm2": {"nll": "en"}, "gemma3": {"nll": "en", "nll_ko": "ko"}}  # figure -> language that a base writes


def measure_specialist(recipe: Recipe, model: str) -> dict[str, Any]:
    """Figures of a specialist beside those of its base.

    Args:
        recipe: whose subject it learned.
        model: the specialist, as darwin_mri takes models.

    Returns:
        ``own``: share of its subject's items answered right, in wordings that training never shows; ``others``: of
        other specialists' items; ``nll``: nats per byte of packaged English probes, and ``nll_ko`` of
        Korean ones where the base writes Korean. Each for the specialist and the base.
    """
    own = SUBJECTS[recipe.subject].items()
    english = dict.fromkeys(other.subject for other in RECIPES.values() if other.base == "smollm2")
    others = [
        item
        for name in english
        if name != recipe.subject
        for item in sample_items(SUBJECTS[name].items(), OF_OTHERS, SEED)
    ]
    languages = TEXTS[recipe.base].items()
    texts = {name: select_probes(load_probes(), (language,), DOCUMENTS, SEED) for name, language in languages}
    figures: dict[str, Any] = {"items": len(own)}
    for name, ref in (("specialist", model), ("base", str(fetch_base(recipe.base)))):
        loaded = load(find_model(ref, offline=True), "", device="cpu", dtype="float32")
        figures[name] = {
            "own": round(accuracy(loaded, own), 4),
            "others": round(accuracy(loaded, others), 4),
        } | {name: round(nll_per_byte(loaded, probes), 4) for name, probes in texts.items()}
    return figures
