"""Scoring models outside a run: what the command ``bench`` does."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from darwin_mri.benchmarks import OwnTasks, base_url, sample_items
from darwin_mri.benchmarks.store import AnswerStore
from darwin_mri.checkpoints import ModelSource, find_model, resolve_device
from darwin_mri.config import AgreementTask, BenchConfig, OwnTask
from darwin_mri.errors import ConfigError
from darwin_mri.files import require_output
from darwin_mri.problem.comparison import Contestants
from darwin_mri.problem.items import load_items
from darwin_mri.problem.model_bench import ModelBench, is_api, model_key
from darwin_mri.records import Comparison
from darwin_mri.run import Progress, Silent

WRITTEN = ("comparison.json", "answers/*/*.json*", "state/answers/*.jsonl")


@dataclass(frozen=True)
class ScoreOptions:
    """Where and how models are scored.

    Attributes:
        own: the user's own tasks by name.
        data: folder with the benchmark files; the hub when None.
        gpqa_password: of GPQA's zip; the environment variable DARWIN_MRI_GPQA_PASSWORD when None.
        seed: of samples and resamples.
        device: auto, cuda or cpu.
        dtype: auto, float32, bfloat16 or float16.
        offline: never ask the hub.
        progress: where the work reports; nowhere when None.
    """

    own: OwnTasks = field(default_factory=dict[str, OwnTask])
    data: str | None = None
    gpqa_password: str | None = None
    seed: int = 1
    device: str = "auto"
    dtype: str = "auto"
    offline: bool = False
    progress: Progress | None = None


def score_models(refs: list[str], config: BenchConfig, out: Path, options: ScoreOptions) -> Comparison:
    """Score models and write answers and comparison.json; the first model is compared with the others.

    Args:
        refs: local models or hub ids; may be empty when ``config.endpoint`` is given.
        config: tasks, protocol, engine, baseline and endpoint.
        out: folder; answers that an earlier run into it has are taken over.
        options: where and how.

    Returns:
        The comparison.

    Raises:
        ConfigError: no model, no task, or a seed below 0.
        InputError: ``out`` cannot be written to, or a benchmark cannot be used.
        CheckpointError: a model cannot be used.
    """
    _refuse(refs, config, out, options)
    served = is_api(config.backend)  # then models are names on a server
    sources = [
        ModelSource(ref, Path(ref), None) if served else find_model(ref, offline=options.offline)
        for ref in [*refs, *([config.baseline] if config.baseline else [])]
    ]
    loaded = load_items(
        config,
        [] if served else sources,
        own=options.own,
        data=options.data,
        password=options.gpqa_password,
        offline=options.offline,
        sample=lambda items: sample_items(items, config.items, options.seed) if config.items else items,
    )
    items = {task: part for task, (part, _) in loaded.items()}
    store = AnswerStore(out, options.progress or Silent())
    bench = ModelBench(store, items, config, resolve_device(options.device), options.dtype, options.own)
    models, compared = Contestants(), bool(refs) and len(sources) + (config.endpoint is not None) > 1
    for number, source in enumerate(sources):
        key, role = model_key(number, source), "child" if number == 0 and compared else "baseline"
        models.add(key, models.distinct(source.ref), role, bench.ask_local(key, source))
    if config.endpoint:
        name, answers = bench.ask_served("served", config.endpoint)
        models.add("served", models.distinct(name), "baseline", answers)
    weights = {task: 1 / len(items) for task in items}
    benchmarks = tuple(info for _, info in loaded.values())
    comparison = models.compare(bench, benchmarks, weights, options.seed, split="all")
    comparison.save(out / "comparison.json")
    return comparison


def _refuse(refs: list[str], config: BenchConfig, out: Path, options: ScoreOptions) -> None:
    """What can be refused before a model is looked at."""
    if not (refs or config.endpoint) or not config.tasks:
        raise ConfigError("bench needs at least one model (or an endpoint) and one task")
    for task in config.tasks:
        if isinstance(options.own.get(task), AgreementTask):
            raise ConfigError(f"tasks.{task}: agreement with a parent is measured inside a run: use breed")
    if options.seed < 0:
        raise ConfigError(f"seed {options.seed} is below 0: give 0 or more")
    if config.endpoint:
        base_url(config.endpoint.url)
    require_output(out, WRITTEN)
