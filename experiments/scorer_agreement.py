"""The fast scorer against lm-eval, item by item, on a sample of the real benchmarks.

``python -m experiments.scorer_agreement MODEL --data DIR``. Run by hand, not by pytest: minutes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from darwin_mri.benchmarks import (
    FastEngine,
    HarnessEngine,
    Scorer,
    accuracy,
    answer_all,
    get_benchmark,
    load_benchmark,
    sample_items,
)
from darwin_mri.checkpoints import find_model, load_model, load_tokenizer, resolve_device
from darwin_mri.problem.items import gpqa_password


def main() -> int:
    """Print one line per task; exit 1 where a choice, a credit or a log-probability (by 1e-3) differs."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scorer_agreement", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="click,musr,gpqa")
    parser.add_argument("--items", type=int, default=60)
    options = parser.parse_args()
    source, device = find_model(options.model, offline=True), resolve_device("auto")
    tokenizer, model = load_tokenizer(source), load_model(source, device=device, dtype="float32")
    agreed = True
    for task in options.tasks.split(","):
        items = sample_items(load_benchmark(task, options.data, password=gpqa_password()), options.items, 1)
        protocol = get_benchmark(task).protocol
        fast = answer_all(FastEngine(Scorer(model, tokenizer, beyond_context=True)), items, protocol)
        harness = answer_all(HarnessEngine.in_memory(model, tokenizer, beyond_context=True), items, protocol)
        same = sum(
            (a.choice, a.credit, a.metrics) == (b.choice, b.credit, b.metrics)
            for a, b in zip(fast, harness, strict=True)
        )
        difference = max(
            abs(p - q)
            for a, b in zip(fast, harness, strict=True)
            for p, q in zip(a.log_probabilities, b.log_probabilities, strict=True)
        )
        agreed &= same == len(items) and difference < 1e-3
        print(
            f"{task}: {same} of {len(items)} items with equal choice and credits;"
            f" log-probabilities within {difference:.1e};"
            f" {protocol.metric} {accuracy(fast):.4f} against {accuracy(harness):.4f}",
            flush=True,
        )
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
