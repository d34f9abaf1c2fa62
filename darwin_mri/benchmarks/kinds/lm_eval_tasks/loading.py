"""Loading tasks of lm-eval: their data, their settings, and their documents as items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from darwin_mri.benchmarks.backend_output import contain_output
from darwin_mri.benchmarks.kinds.lm_eval_tasks.index import Found, find_task
from darwin_mri.benchmarks.kinds.lm_eval_tasks.items import (
    LmEvalItem,
    ScoredItem,
    choices_of,
    digest_of,
    field_of,
    has_slopes,
)
from darwin_mri.benchmarks.kinds.lm_eval_tasks.metrics import OVER_ALL, choose_key, unit_of
from darwin_mri.benchmarks.kinds.lm_eval_tasks.subtask import Results, Subtask, contained, seeded
from darwin_mri.benchmarks.kinds.lm_eval_tasks.upstream import known_metrics
from darwin_mri.config import LmEvalTask
from darwin_mri.errors import InputError

UNREACHABLE = re.compile(r"offline|connection|couldn't (?:find|reach)|doesn't exist on the hub|resolve|retries", re.I)


@dataclass(frozen=True)
class Headline:
    """What is known of a task's scores before its data are loaded.

    Attributes:
        metric: ``metric`` or ``metric,filter``.
        unit: of the score.
        written: whether models write answers.
        digest: of everything that its files set.
        version: of the task, where it has one.
    """

    metric: str
    unit: str
    written: bool
    digest: str
    version: str


def read_headline(task: LmEvalTask, where: str) -> Headline:
    """What a task's files say of its scores.

    Args:
        task: its entry in the config.
        where: it stands, for messages.

    Returns:
        The headline.

    Raises:
        ConfigError: as ``find_task``.
        InputError: as ``find_task``.
    """
    found = find_task(task, where)
    first = found.tasks[0].config
    _, defaults = known_metrics()
    kinds = [str(file.config.get("output_type", "generate_until")) for file in found.tasks]
    listed = first.get("metric_list") or [{"metric": name} for name in defaults.get(kinds[0], ())]
    named = {_name(entry.get("metric")): entry.get("higher_is_better", True) for entry in listed}
    chosen = task.metric or next((name for name in named if name not in OVER_ALL), "")
    plain = chosen.partition(",")[0]
    version = (first.get("metadata") or {}).get("version", "") if isinstance(first.get("metadata"), dict) else ""
    return Headline(chosen, unit_of(plain, named.get(plain)), "generate_until" in kinds, found.digest, str(version))


def load_items(name: str, task: LmEvalTask, *, offline: bool) -> tuple[LmEvalItem, ...]:
    """The documents of a task, a group or a tag.

    Args:
        name: of the task in the config.
        task: its entry there.
        offline: never ask the hub for data.

    Returns:
        The items, in the order of tasks and documents.

    Raises:
        ConfigError: as ``find_task``.
        InputError: as ``find_task``; or its data, a template, a metric or a field is not there.
    """
    where = f"tasks.{name}"
    found, headline = find_task(task, where), read_headline(task, where)
    subtasks = [
        _prepared(Subtask(known, made, task.code_allowed, task.chat, {}), task, where)
        for known, made in _load(task, found, where, offline=offline).items()
    ]
    documents = [item for subtask in subtasks for item in _documents(name, task, subtask, headline, len(subtasks) > 1)]
    kind = ScoredItem if has_slopes(subtasks, iter(documents)) else LmEvalItem
    return tuple(kind(**vars(item)) for item in documents)


def _load(task: LmEvalTask, found: Found, where: str, *, offline: bool) -> dict[str, Any]:
    data = next((_data_of(file.config) for file in found.tasks if file.config.get("dataset_path")), "of its own")

    def fault(error: Exception) -> str:
        if UNREACHABLE.search(f"{type(error).__name__}: {error}") or isinstance(error, OSError):
            local = "correct the paths in the file, which are read from the present folder"
            advice = local if data.startswith("files") else "run this once while online, and they are kept"
            return f"its data cannot be had ({data}, {type(error).__name__}): {advice}"
        if isinstance(error, (IndexError, StopIteration)):
            return f"it has no documents ({data}): check the split that it names"
        if isinstance(error, KeyError):
            return f"its data have no {str(error)[:60]}: check the splits and fields that it names"
        return ""

    file = next((file.path.name for file in found.files if file.path), task.lm_eval)
    with (
        contained(f"{where}: {file}", trusted=task.code_allowed, fault=fault),
        contain_output(),
        hub(offline=offline),
        seeded(),
    ):
        return dict(found.manager.load([task.lm_eval])["tasks"])


def _data_of(config: Mapping[str, Any]) -> str:
    """A data set's id, or the names of local files, for messages."""
    options = config.get("dataset_kwargs")
    files = options.get("data_files") if isinstance(options, Mapping) else None
    if files is None:
        return f"data set {config.get('dataset_path')}"
    listed = [*files.values()] if isinstance(files, Mapping) else [files]
    flat = [one for part in listed for one in (part if isinstance(part, list) else [part])]
    return f"files {', '.join(Path(str(one)).name for one in flat[:3])}"


@contextmanager
def hub(*, offline: bool) -> Iterator[None]:
    """While open, the hub of data sets is not asked where that is not allowed."""
    settings: tuple[Any, ...] = (import_module("datasets.config"), import_module("huggingface_hub.constants"))
    before = [setting.HF_HUB_OFFLINE for setting in settings]
    for setting in settings if offline else ():
        setting.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.HF_HUB_OFFLINE = value


def _prepared(subtask: Subtask, entry: LmEvalTask, where: str) -> Subtask:
    """A task with the entry's settings, as ``simple_evaluate`` lays them over, and its documents."""
    task = subtask.task
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"{where}: {subtask.name} shows pictures or sounds, which are not supported: choose another")
    if task.get_config("output_type") == "generate_until" and entry.gen_kwargs:
        task.set_config(key="generation_kwargs", value=dict(entry.gen_kwargs), update=True)
    own, asked = task.get_config("num_fewshot"), entry.num_fewshot
    if asked is not None and own == 0 and asked:
        raise InputError(f"{where}: {subtask.name} is asked without examples only: leave num_fewshot out")
    shots = asked if asked is not None else own or 0
    task.set_config(key="num_fewshot", value=shots)
    with subtask.contained("its documents"), contain_output():
        subtask.docs = dict(task.doc_iterator(rank=0, limit=None, world_size=1))
        pool = [] if shots == 0 else list(task.fewshot_docs() or ())
    if not subtask.docs:
        raise InputError(f"{where}: {subtask.name} has no documents: check the split that it names")
    if shots > len(pool):
        raise InputError(
            f"{where}: num_fewshot is {shots}, and {subtask.name} has {len(pool)} documents to take examples from:"
            " lower it, or name a fewshot_split"
        )
    return subtask


def _documents(
    name: str, entry: LmEvalTask, subtask: Subtask, headline: Headline, sliced: bool
) -> Iterator[LmEvalItem]:
    where = f"tasks.{name}"
    requests = subtask.instances()
    number, instances = next(iter(requests.items()))
    trial = _trial(subtask, number, instances)
    metric, _, filtered = headline.metric.partition(",")
    key = choose_key(subtask, headline.metric, trial, where) if trial else (metric, filtered or _first_filter(subtask))
    for number, instances in requests.items():
        doc = subtask.docs[number]
        of = f"{subtask.name}-{number:05d}"
        value = digest_of(doc) if entry.cluster is None else field_of(doc, entry.cluster)
        if value is None:
            raise InputError(f"{where}: document {number} of {subtask.name} has no field '{entry.cluster}' (cluster)")
        choices, golds = choices_of(subtask.task, doc)
        yield LmEvalItem(
            key=of if sliced else f"{number:05d}",
            cluster=digest_of(value),  # a passage that documents share must not be read out of a record
            slice=subtask.name if sliced else "all",
            benchmark=name,
            gold=golds[0] if len(golds) == 1 else -1,
            subtask=subtask,
            number=number,
            digest=digest_of([subtask.task.get_config("output_type"), *(list(i.args) for i in instances), golds]),
            metric=key,
            unit=headline.unit,
            choices=choices,
            golds=golds,
        )


def _trial(subtask: Subtask, number: int, instances: Sequence[Any]) -> Results:
    """The metrics of made-up replies, to see which there are; none where the task's scoring fails on such."""
    made: dict[str, Any] = {"loglikelihood_rolling": -1.0, "generate_until": ""}
    replies = [
        [made.get(instance.request_type, (-1.0 - place, False))] * (instance.repeats or 1)
        for place, instance in enumerate(instances)
    ]
    try:
        with contain_output():
            return subtask.results(number, instances, replies)
    except InputError:
        return {}


def _first_filter(subtask: Subtask) -> str:
    return str(subtask.task._filters[0].name)


def _name(metric: Any) -> str:
    """A metric's name; of a function, its own."""
    return str(metric).rpartition("/")[2].rpartition(".")[2]
