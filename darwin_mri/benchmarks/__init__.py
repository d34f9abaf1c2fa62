"""Benchmarks: items, their split into search and held-out parts, the fast scorer, and lm-eval as the reference."""

from darwin_mri.benchmarks.answers import accuracy, gold_probability, to_answers
from darwin_mri.benchmarks.catalog import BENCHMARKS, Benchmark, get_benchmark, load_benchmark
from darwin_mri.benchmarks.harness import lm_eval_answers
from darwin_mri.benchmarks.items import Item, chance, item_hash
from darwin_mri.benchmarks.scorer import Prepared, Scorer, prepare
from darwin_mri.benchmarks.splits import Split, sample_items, split_items

__all__ = [
    "BENCHMARKS", "Benchmark", "Item", "Prepared", "Scorer", "Split", "accuracy", "chance", "get_benchmark",
    "gold_probability", "item_hash", "lm_eval_answers", "load_benchmark", "prepare", "sample_items", "split_items",
    "to_answers",
]  # fmt: skip
