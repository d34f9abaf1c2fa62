"""Tasks of the user's own as benchmarks: their files are read when their items are."""

from __future__ import annotations

import functools
from pathlib import Path

from darwin_mri.benchmarks.benchmark import Benchmark, Loader
from darwin_mri.benchmarks.items import Item
from darwin_mri.benchmarks.kinds.agreement import KEPT, agreement_items
from darwin_mri.benchmarks.own.harness_tasks import lm_eval_benchmark
from darwin_mri.benchmarks.own.passages import load_passages
from darwin_mri.benchmarks.own.questions import kind_of_rows, load_rows
from darwin_mri.benchmarks.protocols import log_likelihood
from darwin_mri.benchmarks.sources import Source
from darwin_mri.config import AgreementTask, Generation, NllTask, OwnTask, QuestionTask
from darwin_mri.records import Protocol

__all__ = ["own_benchmark"]

NATS_PER_BYTE, NATS_PER_TOKEN = "nats/byte", "nats/token"
NLL = log_likelihood("nll-per-byte", "", "-nll/byte")


def own_benchmark(name: str, task: OwnTask) -> Benchmark:
    """A task as a benchmark.

    Args:
        name: of the task.
        task: its entry in the config.

    Returns:
        The benchmark.

    Raises:
        InputError: the first row of its table cannot be used.
    """
    if isinstance(task, QuestionTask):
        return _of_table(name, task)
    if isinstance(task, NllTask):
        path = Path(task.nll)
        return _of_texts(f"{name} ({path.name})", name, lambda _: load_passages(name, path, task.passage))
    if isinstance(task, AgreementTask):
        return _of_agreement(name, Path(task.agreement), task)
    return lm_eval_benchmark(name, task)


def _of_texts(title: str, name: str, loader: Loader) -> Benchmark:
    return Benchmark(name, title, NLL, loader, "", unit=NATS_PER_BYTE, choices=False)


def _of_agreement(name: str, path: Path, task: AgreementTask) -> Benchmark:
    def load(_: Source) -> tuple[Item, ...]:
        return agreement_items(load_passages(name, path, task.passage), task.partner)

    title = f"{name} ({path.name}, with {task.partner})"
    protocol = log_likelihood("kl-per-token", f"with: {task.partner}, kept: {KEPT}", "-kl/token")
    return Benchmark(name, title, protocol, load, "", unit=NATS_PER_TOKEN, choices=False)


def _of_table(name: str, task: QuestionTask) -> Benchmark:
    file = Path(task.jsonl)
    title, kind = f"{name} ({file.name})", _kind_of(file)
    chat = "-chat" if task.chat else ""
    if kind == "text":
        return _of_texts(title, name, lambda _: load_rows(name, task))
    if kind == "choices":
        form, metric = ("letter-logprob", "acc") if task.letters else ("choice-logprob-per-character", "acc_norm")
        protocol = log_likelihood(f"own-{form}{chat}", task.prompt, metric)
        return Benchmark(name, title, protocol, lambda _: load_rows(name, task), task.language)
    generation = Generation(samples=task.samples, temperature=task.temperature, max_new_tokens=task.max_new_tokens)
    stop = "" if task.stop is None else f" stop: {list(task.stop)}"
    protocol = Protocol(
        name=f"own-open-answer{chat}",
        kind="generate",
        metric=f"mean@{task.samples}" if task.samples > 1 else "acc",
        prompt=f"{task.prompt} match: {task.match}{stop}",
        generation=generation,
    )
    return Benchmark(name, title, protocol, lambda _: load_rows(name, task), "", choices=False)


def _kind_of(file: Path) -> str:
    try:
        state = file.stat()
    except OSError:
        return kind_of_rows(file)
    return _kind_of_state(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=64)
def _kind_of_state(file: Path, *_: int) -> str:
    """The kind of a file in this state: a run asks for it often."""
    return kind_of_rows(file)
