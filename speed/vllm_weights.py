"""Seconds that a candidate costs in vLLM: a fresh engine, weights in place, scoring; the fast scorer beside it.

``python -m speed.vllm_weights``, in an environment with vLLM. Two nursery parents in fp32: the candidate takes 0.7 of
the mother in every gene, the next one 0.2 in one of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from darwin_mri.benchmarks import ChoiceItem, Scorer, load_benchmark
from darwin_mri.benchmarks.vllm_engine import VllmEngine
from darwin_mri.benchmarks.vllm_start import VllmSettings
from darwin_mri.breeding import make_space
from darwin_mri.checkpoints import find_model, load
from darwin_mri.checkpoints.survey import survey
from darwin_mri.merging import Candidate, Merge, Settings
from darwin_mri.merging.child_tensors import child_tensors
from darwin_mri.merging.folder_sources import father_source, sibling_source

FATHER, MOTHER = "nursery:gemma4-base", "nursery:gemma4-korean"
ITEMS = 48  # of each of two benchmarks, at most
ROUNDS = 3


def main() -> None:
    """Print one line for each figure, in seconds: the median of the rounds, and all of them."""
    father = load(find_model(FATHER), device="cpu", dtype="float32")
    other, own = find_model(MOTHER), father_source(survey(father.source.folder))
    merge = Merge(own, (sibling_source(survey(father.source.folder), other, own),), None, "linear", Settings(), 1)
    genes = make_space("layers", father.anatomy, father.tensor_names, ("mother",)).owners()
    whole = dict.fromkeys(genes, 0.7)
    candidates = [whole, {**whole, list(genes)[3]: 0.2}]
    tasks = [load_benchmark(name)[:: 800 // ITEMS][:ITEMS] for name in ("nursery_click", "nursery_musr")]
    items = [item for task in tasks for item in task if isinstance(item, ChoiceItem)]
    scorer, candidate = Scorer(father.model, father.tokenizer), Candidate(father.model, genes, merge)
    prepared = scorer.prepare(items)
    settings = VllmSettings(max_length=512, dtype="float32", cache_bytes=2**28, sequences=64, block=32)
    engine = VllmEngine(father.source.folder, settings)

    def start() -> None:
        engine.close()
        engine.load(None)

    def score() -> list[np.ndarray]:
        return [one.log_probabilities for one in engine.log_probabilities(prepared.contexts, prepared.continuations)]

    _report("fresh engine", start, rounds=2)
    _report(
        "in place: every tensor", lambda: engine.load(child_tensors(merge, genes, whole)), lambda: engine.load(None)
    )
    _report(
        "in place: one gene",
        lambda: engine.load(child_tensors(merge, genes, candidates[1])),
        lambda: engine.load(child_tensors(merge, genes, whole)),
    )
    _report("transformers: every tensor", lambda: candidate.apply(whole), candidate.restore)
    _report("transformers: one gene", lambda: candidate.apply(candidates[1]), lambda: candidate.apply(whole))
    _report(f"vLLM scores {len(items)} items", score, lambda: engine.load(child_tensors(merge, genes, whole)))
    candidate.apply(candidates[1])
    engine.load(child_tensors(merge, genes, candidates[1]))
    found = score()
    expected = _report(f"the fast scorer scores {len(items)} items", lambda: scorer.log_probabilities(prepared))
    apart = max(np.abs(one - two).max() for one, two in zip(found, expected, strict=True))
    same = sum(one.argmax() == two.argmax() for one, two in zip(found, expected, strict=True))
    print(f"same choices: {same} of {len(items)}; at most {apart:.1e} nats apart")
    engine.close()


def _report(name: str, work: Callable[[], Any], before: Callable[[], Any] = lambda: None, rounds: int = ROUNDS) -> Any:
    seconds = []
    for _ in range(rounds):
        before()
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    print(f"{name}: {np.median(seconds):.3f} s ({', '.join(f'{one:.3f}' for one in seconds)})", flush=True)
    return result


if __name__ == "__main__":
    main()
