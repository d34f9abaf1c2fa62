"""lm-evaluation-harness as the reference scorer: what reports quote, and what the fast scorer is tested against."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from darwin_mri.benchmarks.answers import to_answers
from darwin_mri.benchmarks.items import Item
from darwin_mri.errors import DarwinError, InputError
from darwin_mri.records import Answer


def lm_eval_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    *,
    task_name: str,
    batch_size: int = 16,
    max_length: int,
) -> list[Answer]:
    """Score items with lm-eval's own HFLM and multiple-choice task, zero-shot, without any response cache.

    Args:
        model: a causal language model, used as it is now.
        tokenizer: its tokenizer; a copy is used because HFLM may add a padding token.
        items: n items; they become an in-memory task, nothing is written to disk.
        task_name: name of the task inside the harness.
        batch_size: rows per forward.
        max_length: positions the harness may use; longer items are refused here instead of being cut from the left there.

    Returns:
        n answers, in the order of ``items``.

    Raises:
        InputError: an item is longer than ``max_length``.
        DarwinError: the harness returned something else than one result per item and choice.
    """
    if not items:
        return []
    tokenizer = copy.deepcopy(tokenizer)
    for item in items:
        longest = max(len(tokenizer.encode(f"{item.context} {choice}")) for choice in item.choices)
        if longest > max_length:
            raise InputError(
                f"{item.benchmark} item {item.key} has {longest} tokens, more than max_length {max_length}"
            )
    with _quiet():
        # Imported here: lm_eval takes seconds to import and only this function needs it.
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM

        model_class: Any = HFLM  # its registering decorator hides the parameters from type checkers
        language_model = model_class(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            max_length=max_length,
            softmax_dtype=torch.float32,
        )
        task: Any = {task_name: _task(task_name, items)}
        results: Any = evaluate(lm=language_model, task_dict=task, bootstrap_iters=0, log_samples=True)
    samples = results["samples"][task_name] if results else []
    found = {sample["doc_id"]: np.array([float(pair[0]) for pair in sample["filtered_resps"]]) for sample in samples}
    if sorted(found) != list(range(len(items))):
        raise DarwinError(
            f"lm-eval returned {len(found)} results for {len(items)} items of {task_name}: check its version"
        )
    return to_answers(items, [found[number] for number in range(len(items))])


def _task(name: str, items: Sequence[Item]) -> Any:
    """The items as a task object of lm-eval; its default delimiter, one space, is the one of ``Item``."""
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask

    rows = [{"context": item.context, "choices": list(item.choices), "gold": item.gold} for item in items]

    def dataset(**_: object) -> DatasetDict:
        return DatasetDict({"test": Dataset.from_list(rows)})

    return ConfigurableTask(
        config={
            "task": name,
            "custom_dataset": dataset,
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": lambda doc: doc["context"],
            "doc_to_choice": lambda doc: doc["choices"],
            "doc_to_target": lambda doc: doc["gold"],
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0},
        }
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval's log lines, progress bars and own warnings away from the user's terminal."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
