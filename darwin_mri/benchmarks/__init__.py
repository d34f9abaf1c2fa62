"""Benchmarks: items and where they come from, their split, protocols, and the engines that answer them."""

from darwin_mri.benchmarks.answers import accuracy, choice_scales, gold_probability, to_answers
from darwin_mri.benchmarks.benchmark import Benchmark
from darwin_mri.benchmarks.catalog import BENCHMARKS, OwnTasks, describe_benchmark, get_benchmark, load_benchmark
from darwin_mri.benchmarks.differentiable import fitness_blocks
from darwin_mri.benchmarks.encoding import Prepared, prepare
from darwin_mri.benchmarks.endpoint import EndpointEngine, base_url
from darwin_mri.benchmarks.engines import Engine, FastEngine, answer_all
from darwin_mri.benchmarks.gpqa import PASSWORD_VARIABLE
from darwin_mri.benchmarks.harness import HarnessEngine
from darwin_mri.benchmarks.item_scorer import ItemScorer
from darwin_mri.benchmarks.items import ChoiceItem, Item, chance, item_hash, with_choices
from darwin_mri.benchmarks.kinds import Grader, OpenItem, differentiable, open_grader, read_lengths
from darwin_mri.benchmarks.kinds.agreement import AgreementItem, Target, measure_targets, with_target
from darwin_mri.benchmarks.lengths import LongItems, Reader, fit_items, require_chat
from darwin_mri.benchmarks.published import published_scores
from darwin_mri.benchmarks.scorer import Scorer
from darwin_mri.benchmarks.splits import Split, group_by_cluster, sample_items, split_items

__all__ = [
    "BENCHMARKS",
    "PASSWORD_VARIABLE",
    "AgreementItem",
    "Benchmark",
    "ChoiceItem",
    "EndpointEngine",
    "Engine",
    "FastEngine",
    "Grader",
    "HarnessEngine",
    "Item",
    "ItemScorer",
    "LongItems",
    "OpenItem",
    "OwnTasks",
    "Prepared",
    "Reader",
    "Scorer",
    "Split",
    "Target",
    "accuracy",
    "answer_all",
    "base_url",
    "chance",
    "choice_scales",
    "describe_benchmark",
    "differentiable",
    "fit_items",
    "fitness_blocks",
    "get_benchmark",
    "gold_probability",
    "group_by_cluster",
    "item_hash",
    "load_benchmark",
    "measure_targets",
    "open_grader",
    "prepare",
    "published_scores",
    "read_lengths",
    "require_chat",
    "sample_items",
    "split_items",
    "to_answers",
    "with_choices",
    "with_target",
]
