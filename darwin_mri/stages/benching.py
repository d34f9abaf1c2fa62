"""The bench stage: who is asked by which engine, and the comparison of what they answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from darwin_mri.benchmarks import (
    EndpointEngine,
    Engine,
    FastEngine,
    HarnessEngine,
    Item,
    Scorer,
    chance,
    get_benchmark,
    published_scores,
)
from darwin_mri.checkpoints import ModelSource, answers_digest, file_digests, load_model, load_tokenizer
from darwin_mri.config import BenchConfig, Served
from darwin_mri.merging import Candidate
from darwin_mri.records import Answer, AnswerSet, BenchmarkInfo, Comparison, Genome, Protocol
from darwin_mri.stages.answering import AnswerStore
from darwin_mri.stages.items import asked_under
from darwin_mri.stages.merging import Breed
from darwin_mri.stages.parents import Loaded, working_dtype
from darwin_mri.stats.compare import compare

ItemsByTask = Mapping[str, Sequence[Item]]
AnswersByTask = dict[str, list[Answer]]


def bench_model(
    store: AnswerStore,
    key: str,
    source: ModelSource,
    items: ItemsByTask,
    bench: BenchConfig,
    *,
    device: str,
    dtype: str,
) -> AnswersByTask:
    """A local model's answers, by lm-eval or by the fast scorer; it is loaded only when some answer is not there yet."""
    precision = working_dtype(device, dtype)
    fast = not bench.harness and bench.protocol == "loglikelihood" and bench.backend == "hf"
    beyond = bench.long_items == "beyond"

    @cache
    def engine() -> Engine:
        if bench.backend != "hf" or bench.backend_args:
            model = source.ref if is_api(bench.backend) else str(source.folder)
            return HarnessEngine.named(bench.backend, bench.backend_args, model=model)
        model, tokenizer = load_model(source, device=device, dtype=precision), load_tokenizer(source)
        if fast:
            return FastEngine(Scorer(model, tokenizer, beyond_context=beyond))
        generation = bench.generation if bench.protocol == "generate" else None
        return HarnessEngine.in_memory(model, tokenizer, beyond_context=beyond, generation=generation)

    name = FastEngine.name if fast else f"lm-eval {bench.backend}"
    if bench.backend_args:  # which may name folders and hosts: published by hash only
        name += f" (arguments {hashlib.sha256(bench.backend_args.encode()).hexdigest()[:8]})"
    protocols = {task: asked_under(bench, task) for task in items}
    if is_api(bench.backend):
        identity = hashlib.sha256(source.ref.encode()).hexdigest()
        return _ask(store, key, source.ref, identity, engine, name, items, protocols, "")
    identity = answers_digest(file_digests(source.folder))
    return _ask(store, key, source.ref, identity, engine, name, items, protocols, f"{device} {precision}")


def is_api(backend: str) -> bool:
    """Whether a backend of lm-eval asks a server: its models are names, not folders."""
    return "completions" in backend


def bench_served(
    store: AnswerStore, key: str, served: Served, items: ItemsByTask, bench: BenchConfig
) -> tuple[str, AnswersByTask]:
    """(name, answers) of a model behind an endpoint: always by the generative protocol, all that the interface offers."""
    engine = EndpointEngine(
        served.url, served.model, timeout=served.timeout, retries=served.retries, concurrency=served.concurrency
    )
    name = engine.model.rstrip("/").rpartition("/")[2] if engine.model.startswith("/") else engine.model
    name = " ".join(name.split())
    protocols = {task: get_benchmark(task).chat_protocol(bench.generation) for task in items}
    # The place by hash only; names such as "default" say little, so another place is another model.
    identity = hashlib.sha256(json.dumps([engine.url, engine.model]).encode()).hexdigest()
    return name, _ask(store, key, name, identity, lambda: engine, engine.name, items, protocols, "")


def bench_nulls(
    store: AnswerStore, father: Loaded, breed: Breed, genome: Genome, items: ItemsByTask, bench: BenchConfig
) -> dict[str, AnswersByTask]:
    """Answers of the null children, applied in memory to the resident father, who is himself again afterwards.

    By the fast scorer, whose protocol is lm-eval's (decision 5); generated answers come from lm-eval here too.
    """
    beyond = bench.long_items == "beyond"
    protocols = {task: asked_under(bench, task) for task in items}
    generates = bench.protocol == "generate"
    engine: Engine = FastEngine(Scorer(father.model, father.tokenizer, beyond_context=beyond))
    if generates:
        engine = HarnessEngine.in_memory(
            father.model, father.tokenizer, beyond_context=beyond, generation=bench.generation
        )
    out = {}
    for name, genes in genome.nulls.items():
        merge = breed.shuffled().merge if name == "shuffled-donor" else breed.merge
        candidate = Candidate(father.model, breed.tensors(), merge)
        made_of = json.dumps(
            [father.digest, genome.mother, genome.method, genome.settings, name, genes], sort_keys=True
        )
        identity = hashlib.sha256(made_of.encode()).hexdigest()
        candidate.apply(genes, breed.exceptions(genes))
        key = f"null:{name}"
        out[name] = _ask(store, key, f"null {name}", identity, lambda: engine, engine.name, items, protocols, "")
        candidate.restore()
    return out


def _ask(
    store: AnswerStore,
    key: str,
    model: str,
    model_digest: str,
    open_engine: Callable[[], Engine],
    engine: str,
    items: ItemsByTask,
    protocols: Mapping[str, Protocol],
    precision: str,
) -> AnswersByTask:
    answers: AnswersByTask = {}
    doing = {"darwin_mri": "score", "endpoint": "ask"}.get(engine.partition(" ")[0], "lm-eval")
    with store.progress.stage(f"{doing} {model}", sum(map(len, items.values()))) as advance:
        for task, part in items.items():
            protocol = protocols[task]
            identity = AnswerSet(
                model=model, digest=model_digest, benchmark=task, protocol=protocol.label, protocol_hash=protocol.hash,
                engine=engine, precision=precision,
            )  # fmt: skip
            answers[task] = store.collect(key, identity, open_engine, part, protocol, advance)
    return answers


def make_comparison(
    answers: Mapping[str, AnswersByTask],
    names: Mapping[str, tuple[str, str]],
    items: ItemsByTask,
    benchmarks: tuple[BenchmarkInfo, ...],
    bench: BenchConfig,
    weights: Mapping[str, float],
    seed: int,
    *,
    split: Literal["held-out", "all"] = "held-out",
) -> Comparison:
    """The comparison record; ``names`` maps each key of ``answers`` to (model name, role)."""
    return compare(
        answers,
        names,
        _protocols(items, bench),
        {task: chance(tuple(part)) for task, part in items.items()},
        weights,
        seed,
        published_scores(items),
        split=split,
        benchmarks=benchmarks,
    )


def _protocols(tasks: Iterable[str], bench: BenchConfig) -> list[Protocol]:
    """Every protocol that some model may have been asked under."""
    found = [asked_under(bench, task) for task in tasks]
    if bench.endpoint is not None:
        found += [get_benchmark(task).chat_protocol(bench.generation) for task in tasks]
    return list({protocol.hash: protocol for protocol in found}.values())


def model_key(number: int, source: ModelSource) -> str:
    """Folder name of a model's answers in a bench: its place and its name."""
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(source.ref).name)
    return f"{number}-{plain}"
