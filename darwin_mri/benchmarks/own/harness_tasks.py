"""A task of lm-evaluation-harness as a benchmark."""

from __future__ import annotations

import json

from darwin_mri.benchmarks.benchmark import Benchmark
from darwin_mri.benchmarks.kinds.lm_eval_tasks import load_items, read_headline
from darwin_mri.config import LmEvalTask
from darwin_mri.records import Protocol


def lm_eval_benchmark(name: str, task: LmEvalTask) -> Benchmark:
    """A task, group or tag of lm-eval as a benchmark; its data are loaded when its items are.

    Args:
        name: of the task in the config.
        task: its entry there.

    Returns:
        The benchmark. The protocol changes with everything that changes prompts or scores.

    Raises:
        ConfigError: lm-eval has no such task.
        InputError: its files cannot be read, or ask for code that is not allowed.
    """
    headline = read_headline(task, f"tasks.{name}")
    settings = {"num_fewshot": task.num_fewshot, "gen_kwargs": task.gen_kwargs, "chat": task.chat}
    given = " ".join(f"{key}: {json.dumps(value, sort_keys=True)}" for key, value in settings.items() if value)
    version = f" version {headline.version}" if headline.version else ""
    protocol = Protocol(
        name=f"lm-eval-{task.lm_eval}" + ("-chat" if task.chat else ""),
        kind="generate" if headline.written else "loglikelihood",
        metric=headline.metric,
        prompt=f"{task.lm_eval}{version} files: {headline.digest}" + (f" {given}" if given else ""),
    )
    title = f"{name} (lm-eval {task.lm_eval})"
    return Benchmark(
        name,
        title,
        protocol,
        lambda source: load_items(name, task, offline=source.offline),
        "",
        unit=headline.unit,
        choices=False,
    )
