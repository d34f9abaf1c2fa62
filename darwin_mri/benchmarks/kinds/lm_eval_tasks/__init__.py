"""Tasks of lm-evaluation-harness, with its own requests, filters and metrics, under the fast scorer."""

from darwin_mri.benchmarks.kinds.lm_eval_tasks.grader import LmEvalGrader, lm_eval_lengths
from darwin_mri.benchmarks.kinds.lm_eval_tasks.items import LmEvalItem, ScoredItem
from darwin_mri.benchmarks.kinds.lm_eval_tasks.loading import load_items, read_headline
from darwin_mri.benchmarks.kinds.lm_eval_tasks.metrics import aggregated
from darwin_mri.benchmarks.kinds.lm_eval_tasks.rows import lm_eval_rows

__all__ = [
    "LmEvalGrader",
    "LmEvalItem",
    "ScoredItem",
    "aggregated",
    "lm_eval_lengths",
    "lm_eval_rows",
    "load_items",
    "read_headline",
]
